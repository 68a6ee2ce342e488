"""Decoders whose EEG is aligned in the space of photographs: `clip photos`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photo_space import SmallLite, stand_in
from PIL import Image
from tiny import SIZE, caption_config, finetune_config, prior_config, reader_config

from dreamdiffusion.decoders.caption.decoder import Caption
from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.fit import load_decoder, make_split
from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.files.pictures import read_image, to_tensor
from dreamdiffusion.models.embedder import PHOTOS
from dreamdiffusion.trials.trials import Trials

pytestmark = pytest.mark.global_rng


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> SmallLite:
    return stand_in(monkeypatch)


def fitted(kind: Any, config: Any, folder: Path) -> tuple[Any, Trials]:
    """Fit a decoder, save it, and return it as it is opened again; and the test trials."""
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    kind.fit(trials, split, config).save(folder)
    return load_decoder(folder), trials.select(split.test)


def bank(folder: Path) -> Path:
    """Write three photographs of each category, larger than what is drawn."""
    rng = np.random.default_rng(3)
    for name in ("square", "disc"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_a_reader_says_in_which_space_it_answers(tmp_path: Path, space: SmallLite) -> None:
    config = reader_config(tmp_path, clip=PHOTOS)
    reader, test = fitted(Reader, config, tmp_path / "saved")
    assert reader.clip == PHOTOS
    assert reader.decode(test).embeddings.shape == (len(test), space.n_features)
    other, _ = fitted(
        Reader, reader_config(tmp_path, output=tmp_path / "2"), tmp_path / "with-clip"
    )
    assert Path(other.clip) == (tmp_path / "generator" / "clip").resolve()


def test_a_prior_shows_photographs_of_a_folder(tmp_path: Path, space: SmallLite) -> None:
    folder = bank(tmp_path / "bank")
    config = prior_config(tmp_path, clip=PHOTOS, bank=folder)
    prior, test = fitted(Prior, config, tmp_path / "saved")
    assert prior.clip_source() == PHOTOS
    assert prior.bank.embeddings.shape == (6, space.n_features)
    answer = prior.decode(test, strength=0.0)
    names = [text.split(":")[0] for (text,) in answer.drawn_from]
    shown = np.stack([read_image(folder / name, SIZE, "crop") for name in names])
    torch.testing.assert_close(answer.images[:, 0], to_tensor(shown), atol=1e-6, rtol=0)


def test_the_generator_is_given_no_embedding_that_it_does_not_understand(
    tmp_path: Path, space: SmallLite
) -> None:
    config = prior_config(tmp_path, clip=PHOTOS, bank=bank(tmp_path / "bank"))
    prior, test = fitted(Prior, config, tmp_path / "saved")
    few = {"num_inference_steps": 2, "seed": 4}
    both, caption = (prior.decode(test, condition=one, **few) for one in ("both", "caption"))
    assert torch.equal(both.images, caption.images)
    assert "given caption" in prior.describe(prior.settings())
    with pytest.raises(ValueError, match=r"condition embedding: no generator understands .*photos"):
        prior.decode(test, condition="embedding", **few)


def test_a_bank_is_embedded_at_the_size_of_its_space(tmp_path: Path, space: SmallLite) -> None:
    """As the pictures of the trials are, whatever the size at which it is shown."""
    folder = bank(tmp_path / "bank")
    config = prior_config(tmp_path, clip=PHOTOS, bank=folder, image_size=8)
    prior, test = fitted(Prior, config, tmp_path / "saved")
    with pytest.raises(ValueError, match="have 8 pixels and the generator draws 16; give"):
        prior.decode(test)
    large = np.stack([read_image(path, space.size, "crop") for path in prior.bank.paths])
    expected = torch.nn.functional.normalize(space(to_tensor(large))[0])
    torch.testing.assert_close(prior.bank.embeddings, expected, atol=2e-3, rtol=1e-2)


def test_words_and_the_papers_model_are_aligned_with_photographs(
    tmp_path: Path, space: SmallLite
) -> None:
    caption, test = fitted(Caption, caption_config(tmp_path, clip=PHOTOS), tmp_path / "saved")
    assert caption.clip_source() == PHOTOS
    assert caption.read(test).embeddings.shape == (len(test), space.n_features)
    model = finetune(finetune_config(tmp_path, steps=2, clip=PHOTOS))
    assert clip_source(model) == PHOTOS
    paper = load_decoder(model)
    assert paper.read(test).embeddings.shape == (len(test), space.n_features)
