"""Images of the controls: they come from nothing else than what each is meant to use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import SIZE, finetune_config

from dreamdiffusion.decoders.baselines import load_baselines
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans, mean_tokens
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.evaluation.analyses import prototype_table
from dreamdiffusion.evaluation.control_images import ControlPainter
from dreamdiffusion.evidence.controls import CONTROLS, controls_of_kind
from dreamdiffusion.files.pictures import read_images
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(tmp_path_factory.mktemp("controls"))).parent.parent


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def painter(folder: Path) -> ControlPainter:
    model = folder / "finetune" / "model"
    decoder = open_image_decoder(model)
    split, trials = Split.load(model / "split.json"), Trials.load(folder / "trials")
    return ControlPainter(
        decoder=decoder,
        trials=trials,
        tested=trials.select(split.test),
        rows=split.test,
        moved=np.roll(np.arange(len(split.test)), 1),
        train=split.train,
        sample=decoder.settings(num_inference_steps=2, num_images_per_prompt=1),
        batch_size=4,
        label_prompt="a {category}",
        embed=lambda images: images.flatten(1) @ torch.randn(3 * SIZE**2, 8, generator=seeded(0)),
        baselines=load_baselines(model),
    )


@pytest.mark.global_rng
def test_every_control_is_drawn_and_differs(painter: ControlPainter) -> None:
    drawn = [name for name in CONTROLS if name not in controls_of_kind("other_drawing")]
    images, left_out = painter.draw(drawn)
    assert not left_out
    n = len(painter.rows)
    for name, drawn in images.items():
        assert drawn.shape == (n, 1, 3, SIZE, SIZE), name
        assert drawn.min() >= 0 and drawn.max() <= 1
    for one in images:
        for other in images:
            assert one == other or not torch.equal(images[one], images[other]), (one, other)


@pytest.mark.global_rng
def test_controls_without_the_brain_do_not_look_at_it(painter: ControlPainter) -> None:
    names = ["mean_embedding", "no_eeg_prior"]
    before, _ = painter.draw(names)
    painter.tested = replace(painter.tested, data=painter.tested.data[::-1] * 3)
    after, _ = painter.draw(names)
    for name in names:
        torch.testing.assert_close(after[name], before[name])


@pytest.mark.global_rng
def test_nearest_training_images_are_pictures_of_training(painter: ControlPainter) -> None:
    images, _ = painter.draw(["nearest_training_image"])
    trials = painter.trials
    drawn = {tuple((255 * image).round().flatten().int().tolist()) for image, in
             images["nearest_training_image"]}  # fmt: skip

    def pixels(rows: np.ndarray) -> set[tuple[int, ...]]:
        seen = read_images(trials.select(rows).images(), SIZE, "crop").transpose(0, 3, 1, 2)
        return {tuple(image.flatten().tolist()) for image in seen}

    assert drawn <= pixels(painter.train)
    assert not drawn & pixels(painter.rows)


def test_what_cannot_be_drawn_is_named_with_the_reason(painter: ControlPainter) -> None:
    painter.decoder.means = painter.train = painter.rows = None
    names = ["mean_embedding", "nearest_training_image", "time_removed_eeg"]
    images, left_out = painter.draw(names)
    assert not images
    assert "has no training_means.safetensors" in left_out["mean_embedding"]
    assert "not here" in left_out["nearest_training_image"]
    assert "averages" in left_out["time_removed_eeg"]


@pytest.mark.global_rng
def test_means_of_training_lie_beside_the_model(painter: ControlPainter) -> None:
    trials, means, pipe = painter.trials, painter.decoder.means, painter.decoder.pipeline
    tokens = pipe.encode(np.asarray(trials.data[painter.train]), trials.ch_names, trials.sfreq)
    torch.testing.assert_close(means.tokens, tokens.mean(dim=0, keepdim=True), atol=1e-3, rtol=0)
    again = mean_tokens(pipe, trials, painter.train, batch_size=3)
    torch.testing.assert_close(again, tokens.mean(dim=0, keepdim=True), atol=1e-5, rtol=0)
    table = prototype_table(painter.decoder.prototypes(), ["disc", "unknown", "square"])
    assert np.isnan(table[1]).all() and np.isfinite(table[[0, 2]]).all()
    clip = load_embedder(painter.decoder.clip_source(), torch.device("cpu"))
    discs = painter.train[trials.metadata["category"].iloc[painter.train].to_numpy() == "disc"]
    pixels = torch.from_numpy(read_images(trials.select(discs).images(), SIZE, "crop"))
    own = clip(pixels.permute(0, 3, 1, 2).float() / 255).mean(dim=0)
    np.testing.assert_allclose(table[0], own.numpy(), atol=1e-4)


def test_damaged_means_are_named(tmp_path: Path) -> None:
    assert TrainingMeans.load(tmp_path) is None
    (tmp_path / "training_means.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="does not hold means"):
        TrainingMeans.load(tmp_path)
