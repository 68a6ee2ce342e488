"""Controls: what each takes away, what it leaves, and that its images come from nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import SIZE, finetune_config

from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans, mean_tokens
from dreamdiffusion.evaluation.control_images import ControlPainter
from dreamdiffusion.evidence.controls import (
    CONTROLS,
    nearest_pictures,
    phase_randomised,
    time_removed,
)
from dreamdiffusion.files.pictures import read_images
from dreamdiffusion.models.generator.generator import load_embedder
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(8, 33), st.integers(0, 99))
def test_random_phases_keep_spectra_and_relations_of_channels(
    n: int, n_chans: int, n_times: int, seed: int
) -> None:
    eeg = np.random.default_rng(seed).standard_normal((n, n_chans, n_times))
    turned = phase_randomised(eeg, np.random.default_rng(seed + 1))
    before, after = (np.fft.rfft(x, axis=2) for x in (eeg, turned))
    cross = [np.einsum("ncf,ndf->ncdf", x, x.conj()) for x in (before, after)]
    np.testing.assert_allclose(cross[1], cross[0], atol=1e-8)
    np.testing.assert_allclose(turned.mean(axis=2), eeg.mean(axis=2), atol=1e-12)


def test_random_phases_destroy_what_is_locked_to_the_stimulus() -> None:
    rng = np.random.default_rng(0)
    wave = np.exp(-((np.arange(128) - 40) ** 2) / 50.0)
    eeg = (wave + 0.1 * rng.standard_normal((400, 3, 128))).astype(np.float32)
    turned = phase_randomised(eeg, rng)
    assert turned.dtype == np.float32
    moving = turned.mean(axis=0) - turned.mean()
    assert np.abs(moving).max() < 0.1  # the evoked response had a peak of 1
    assert not np.allclose(turned[0], turned[1])


def test_time_removed_takes_drift_and_leaves_the_response() -> None:
    rng = np.random.default_rng(0)
    n = 64
    response = rng.choice([-1.0, 1.0], n)  # changes from trial to trial, so it is no slow course
    drift = 5 * np.cos(np.pi * 2 * (np.arange(n) + 0.5) / n)
    eeg = (response + drift)[:, None, None] * np.ones((1, 2, 4)) + 3
    order = rng.permutation(n)  # the trials of a folder need not lie in order
    cleaned = np.empty_like(eeg)
    cleaned[order] = time_removed(eeg[order], np.zeros(n), np.arange(n, dtype=float)[order])
    alone = time_removed(eeg - drift[:, None, None], np.zeros(n), np.arange(n, dtype=float))
    np.testing.assert_allclose(cleaned, alone, atol=1e-9)  # nothing of the drift is left
    assert np.corrcoef(cleaned[:, 0, 0], response)[0, 1] > 0.8
    assert cleaned.mean() == pytest.approx(eeg.mean())


def test_time_removed_works_in_each_run_by_itself() -> None:
    eeg = np.random.default_rng(1).standard_normal((24, 1, 3))
    runs, onsets = np.repeat([0, 1], 12), np.tile(np.arange(12.0), 2)
    both = time_removed(eeg, runs, onsets)
    np.testing.assert_allclose(both[12:], time_removed(eeg[12:], runs[12:], onsets[12:]))
    short = time_removed(eeg[:7], np.zeros(7), onsets[:7])
    np.testing.assert_array_equal(short, eeg[:7])  # too few trials for the slowest wave


def test_nearest_picture_is_by_angle_not_length() -> None:
    gallery = torch.tensor([[10.0, 10.0], [0.0, 1.0], [1.0, 0.0]])
    embeddings = torch.tensor([[0.1, 0.2], [0.0, 5.0], [2.0, 0.1]])
    assert nearest_pictures(embeddings, gallery).tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(tmp_path_factory.mktemp("controls"))).parent.parent


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def painter(folder: Path) -> ControlPainter:
    model = folder / "finetune" / "model"
    pipe = EEGToImagePipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    split, trials = Split.load(model / "split.json"), Trials.load(folder / "trials")
    return ControlPainter(
        pipe=pipe,
        model=model,
        means=TrainingMeans.load(model),
        trials=trials,
        tested=trials.select(split.test),
        rows=split.test,
        moved=np.roll(np.arange(len(split.test)), 1),
        train=split.train,
        sample=SampleConfig(num_inference_steps=2, num_images_per_prompt=1),
        batch_size=4,
        label_prompt="a {category}",
        embed=lambda images: images.flatten(1) @ torch.randn(3 * SIZE**2, 8, generator=seeded(0)),
    )


@pytest.mark.global_rng
def test_every_control_is_drawn_and_differs(painter: ControlPainter) -> None:
    images, left_out = painter.draw(list(CONTROLS))
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
        seen = read_images(trials.select(rows).images(), SIZE).transpose(0, 3, 1, 2)
        return {tuple(image.flatten().tolist()) for image in seen}

    assert drawn <= pixels(painter.train)
    assert not drawn & pixels(painter.rows)


def test_what_cannot_be_drawn_is_told(painter: ControlPainter) -> None:
    painter.means = painter.train = painter.rows = None
    names = ["mean_embedding", "nearest_training_image", "time_removed_eeg"]
    images, left_out = painter.draw(names)
    assert not images
    assert "has no training_means.safetensors" in left_out["mean_embedding"]
    assert "not here" in left_out["nearest_training_image"]
    assert "averages" in left_out["time_removed_eeg"]


@pytest.mark.global_rng
def test_means_of_training_lie_beside_the_model(painter: ControlPainter) -> None:
    trials, means = painter.trials, painter.means
    tokens = painter.pipe.encode(
        np.asarray(trials.data[painter.train]), trials.ch_names, trials.sfreq
    )
    torch.testing.assert_close(means.tokens, tokens.mean(dim=0, keepdim=True), atol=1e-3, rtol=0)
    again = mean_tokens(painter.pipe, trials, painter.train, batch_size=3)
    torch.testing.assert_close(again, tokens.mean(dim=0, keepdim=True), atol=1e-5, rtol=0)
    table = means.table(["disc", "unknown", "square"])
    assert np.isnan(table[1]).all() and np.isfinite(table[[0, 2]]).all()
    clip = load_embedder(clip_source(painter.model), torch.device("cpu"))
    discs = painter.train[trials.metadata["category"].iloc[painter.train].to_numpy() == "disc"]
    pixels = torch.from_numpy(read_images(trials.select(discs).images(), SIZE))
    own = clip(pixels.permute(0, 3, 1, 2).float() / 255).mean(dim=0)
    np.testing.assert_allclose(table[0], own.numpy(), atol=1e-4)


def test_damaged_means_are_named(tmp_path: Path) -> None:
    assert TrainingMeans.load(tmp_path) is None
    (tmp_path / "training_means.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="does not hold means"):
        TrainingMeans.load(tmp_path)
