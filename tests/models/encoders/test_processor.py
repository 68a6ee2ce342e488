"""Scaling of trials: fitted on training trials alone, exact, saved without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import write_trials

from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.trials.scaling import scale_matrix, scale_of_part
from dreamdiffusion.trials.trials import Trials


def test_whitening_makes_the_covariance_the_identity(rng: np.random.Generator) -> None:
    mixing = rng.standard_normal((5, 5))
    data = np.einsum("cd,ndt->nct", mixing, rng.standard_normal((40, 5, 30))) * 1e-5
    matrix = scale_matrix(data, "whiten")
    scaled = np.einsum("cd,ndt->nct", matrix, data)
    covariance = np.einsum("nct,ndt->cd", scaled, scaled) / (40 * 30)
    np.testing.assert_allclose(covariance, np.eye(5), atol=1e-8)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-8)  # symmetric: channels stay themselves


def test_average_reference_leaves_no_infinities(rng: np.random.Generator) -> None:
    data = rng.standard_normal((20, 4, 50))
    data -= data.mean(axis=1, keepdims=True)
    matrix = scale_matrix(data, "whiten")
    scaled = np.einsum("cd,ndt->nct", matrix, data)
    powers = np.linalg.eigvalsh(np.einsum("nct,ndt->cd", scaled, scaled) / (20 * 50))
    np.testing.assert_allclose(powers, [0, 1, 1, 1], atol=1e-8)


def test_robust_scale_by_hand() -> None:
    """Median 0, deviations 1 1 1 1 100: the median deviation is 1, whatever the artefact."""
    data = np.array([[[1.0, -1.0, 1.0, -1.0, 0.0, 100.0, -100.0]]])
    assert scale_matrix(data, "robust")[0, 0] == pytest.approx(1 / 1.4826)
    with pytest.raises(ValueError, match="channel 0 has no deviation"):
        scale_matrix(np.zeros((1, 1, 5)), "robust")
    with pytest.raises(ValueError, match="expected whiten or robust"):
        scale_matrix(data, "zscore")


def test_fit_looks_at_training_trials_only_and_survives_saving(tmp_path: Path) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials"))
    train = np.arange(8)
    processor = EEGProcessor.fit(trials, train, "whiten", n_chans=3)
    changed = np.array(trials.data)
    changed[8:] *= 7
    trials.data = changed
    again = EEGProcessor.fit(trials, train, "whiten", n_chans=3)
    assert torch.equal(processor.matrix, again.matrix)
    processor.save_pretrained(tmp_path / "saved")
    loaded = EEGProcessor.from_pretrained(tmp_path / "saved", use_safetensors=True)
    assert torch.equal(loaded.matrix, processor.matrix)
    got = loaded(trials.data[:2], trials.ch_names, trials.sfreq)
    expected = np.einsum("cd,ndt->nct", scale_matrix(trials.data[:8], "whiten"), trials.data[:2])
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-3, atol=1e-4)


def test_fewer_channels_than_the_encoder_are_tiled(tmp_path: Path) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials"))
    processor = EEGProcessor.fit(trials, np.arange(8), "robust", n_chans=7)
    scaled = processor(trials.data[:2], trials.ch_names, trials.sfreq)
    assert scaled.shape == (2, 7, 16)
    assert torch.equal(scaled[:, 3:6], scaled[:, :3]) and torch.equal(scaled[:, 6], scaled[:, 0])


def test_whitening_of_a_part_is_that_of_its_block_of_the_covariance(
    rng: np.random.Generator,
) -> None:
    mixing = rng.standard_normal((4, 4))
    data = np.einsum("cd,ndt->nct", mixing, rng.standard_normal((60, 4, 30)))
    whole = scale_matrix(data, "whiten")
    part = scale_of_part(whole, [2, 0])
    np.testing.assert_allclose(part, scale_matrix(data[:, [2, 0]], "whiten"), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(scale_of_part(whole, [0, 1, 2, 3]), whole)
    np.testing.assert_allclose(
        scale_of_part(np.diag([1.0, 2.0, 4.0]), [2, 1]), np.diag([4.0, 2.0]), rtol=1e-12
    )


def test_a_lacking_channel_is_absent_where_the_model_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials"))
    data, sfreq = np.asarray(trials.data), trials.sfreq
    strict = EEGProcessor.fit(trials, np.arange(8), "whiten", n_chans=3)
    with pytest.raises(ValueError, match="lacks the channels C2; the model was trained on C1"):
        strict(data[:, [0, 2]], ["C1", "C3"], sfreq)
    processor = EEGProcessor.fit(trials, np.arange(8), "whiten", n_chans=3, missing="absent")
    scaled = processor(data[:, [2, 0]], ["C3", "C1"], sfreq)
    assert "lacks the channels C2" in caplog.text
    assert scaled[:, 1].isnan().all() and scaled[:, [0, 2]].isfinite().all()
    alone = scale_matrix(data[:8][:, [0, 2]], "whiten")
    expected = np.einsum("cd,ndt->nct", alone, data[:, [0, 2]])
    np.testing.assert_allclose(scaled[:, [0, 2]].numpy(), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="lacks the channels C1, C2, C3"):
        processor(data, ["X", "Y", "Z"], sfreq)
