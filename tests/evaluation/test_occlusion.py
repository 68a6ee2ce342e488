"""Occlusion finds what was planted; its figures show it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from dreamdiffusion.evaluation.occlusion import nearest_places, neighbours, occlude
from dreamdiffusion.evidence.scores import Occlusion
from dreamdiffusion.report.occlusion_figure import (
    draw_occlusion,
)

MUSE = ["TP9", "AF7", "AF8", "TP10"]
SFREQ = 200.0


def planted(rng, channel=2, start=40, stop=50):
    """60 trials that differ by +-1 uV in one channel and 50 ms, and the score that reads it."""
    eeg = 1e-6 * rng.standard_normal((60, 4, 100))
    sign = np.resize([1.0, -1.0], 60)
    eeg[:, channel, start:stop] += 5e-6 + 1e-6 * sign[:, None]

    def score(covered):
        return sign * (covered[:, channel, start:stop] - 5e-6).mean(axis=1)

    return eeg, score


def test_it_finds_the_planted_channel_and_window(rng):
    eeg, score = planted(rng)
    found = occlude(score, eeg, MUSE, SFREQ, -0.1, "made up", width=0.05, stride=0.05)
    assert found.value == pytest.approx(score(eeg).mean())
    drop = np.array(found.channel_drop)
    np.testing.assert_allclose(drop[[0, 1, 3]], 0, atol=1e-18)
    # Covered trials are all alike, so the score is that of the mean: 0 but for what trials share.
    assert drop[2] == pytest.approx(found.value, rel=0.05)
    # Samples 40..49 of a trial from -.1 s on: .1 to .15 s.
    times = np.array(found.times)
    at = int(np.argmax(found.time_drop))
    assert times[at] == pytest.approx(-0.1 + 44.5 / SFREQ)
    np.testing.assert_allclose(np.delete(found.time_drop, at), 0, atol=1e-18)
    assert found.time_drop[at] == pytest.approx(found.value, rel=0.05)
    assert found.time_se[at] == pytest.approx(
        (score(eeg) - score(np.broadcast_to(eeg.mean(0), eeg.shape))).std(ddof=1) / 60**0.5
    )


def test_covering_leaves_the_mean_and_the_given_trials_as_they_are(rng):
    eeg, _ = planted(rng)
    before, seen = eeg.copy(), []

    def score(covered):
        seen.append(covered.copy())
        return np.zeros(len(covered))

    occlude(score, eeg, MUSE, SFREQ, 0.0, "nothing", width=0.1, stride=0.1)
    np.testing.assert_array_equal(eeg, before)
    np.testing.assert_array_equal(seen[0], eeg)
    assert len(seen) == 1 + 4 + 5
    for i, covered in enumerate(seen[1:5]):
        np.testing.assert_allclose(covered.mean(axis=0), eeg.mean(axis=0))
        assert np.ptp(covered[:, i], axis=0).max() == 0
        np.testing.assert_array_equal(np.delete(covered, i, axis=1), np.delete(eeg, i, axis=1))
    last = seen[-1]
    assert np.ptp(last[:, :, 80:], axis=0).max() == 0
    np.testing.assert_array_equal(last[:, :, :80], eeg[:, :, :80])


def test_windows_reach_from_the_first_sample_to_the_last(rng):
    eeg, score = planted(rng)
    found = occlude(score, eeg, MUSE, SFREQ, 0.0, "m", width=0.05, stride=0.035)
    # 10 samples wide; 90 samples to go in steps of at most 7: 13 steps.
    assert len(found.times) == 14
    assert found.times[0] == pytest.approx(4.5 / SFREQ)
    assert found.times[-1] == pytest.approx((90 + 4.5) / SFREQ)
    assert found.width == pytest.approx(0.05)
    np.testing.assert_allclose(found.evoked, eeg.mean(axis=0))
    assert found.evoked_times[-1] == pytest.approx(99 / SFREQ)


def test_what_two_channels_share_shows_when_both_are_covered(rng):
    eeg = 1e-6 * rng.standard_normal((40, 3, 50))
    sign = np.resize([1.0, -1.0], 40)
    eeg[:, :2] += 5e-6 * sign[:, None, None]

    def either(covered):
        means = covered[:, :2].mean(axis=2)
        best = means[np.arange(len(means)), np.abs(means).argmax(axis=1)]
        return (np.sign(best) == sign).astype(float)

    single = occlude(either, eeg, ["PO7", "P7", "Fp2"], SFREQ, 0.0, "m", width=0.05)
    np.testing.assert_allclose(single.channel_drop, 0)
    both = occlude(either, eeg, ["PO7", "P7", "Fp2"], SFREQ, 0.0, "m", width=0.05, radius=0.05)
    assert min(both.channel_drop[:2]) >= 0.4
    assert both.channel_drop[2] == 0


def test_neighbours_are_those_on_the_head():
    assert [near.tolist() for near in neighbours(["a", "b"], 0)] == [[0], [1]]
    found = neighbours(["O1", "Oz", "O2", "Fpz"], 0.04)
    assert [near.tolist() for near in found] == [[0, 1], [0, 1, 2], [1, 2], [3]]
    with pytest.raises(ValueError, match="no position is known for E1"):
        neighbours(["E1"], 0.04)
    with pytest.raises(ValueError, match="radius is -1 m"):
        neighbours(["O1"], -1)


def test_the_nearest_prototype():
    prototypes = [[2.0, 0.0], [0.0, 0.5], [np.nan, np.nan]]
    embeddings = [[3.0, 1.0], [1.0, 0.1], [-1.0, 0.0]]
    # The third points away from both; nothing is nearest to what has no prototype.
    assert nearest_places(embeddings, prototypes).tolist() == [0, 0, 1]


def test_what_cannot_be_covered_is_refused(rng):
    eeg, score = planted(rng)
    with pytest.raises(ValueError, match="3 ch_names"):
        occlude(score, eeg, MUSE[:3], SFREQ, 0.0, "m")
    with pytest.raises(ValueError, match="two trials or more"):
        occlude(score, eeg[:1], MUSE, SFREQ, 0.0, "m")
    with pytest.raises(ValueError, match="1 s = 200 samples at 200 Hz, expected 1 to 100"):
        occlude(score, eeg, MUSE, SFREQ, 0.0, "m", width=1.0)
    with pytest.raises(ValueError, match="stride is 0 s"):
        occlude(score, eeg, MUSE, SFREQ, 0.0, "m", stride=0.0)
    with pytest.raises(ValueError, match=r"has shape \(\), expected one finite number a trial"):
        occlude(lambda x: score(x).mean(), eeg, MUSE, SFREQ, 0.0, "m")
    with pytest.raises(ValueError, match="one finite number a trial"):
        occlude(lambda x: score(x) * np.nan, eeg, MUSE, SFREQ, 0.0, "m")


def texts(figure):
    """Everything that a figure says, after it was drawn."""
    figure.savefig(io.BytesIO(), format="png")
    found = [t.get_text() for axis in figure.axes for t in axis.texts]
    for axis in figure.axes:
        found += [axis.get_title("left"), axis.get_xlabel(), axis.get_ylabel()]
        found += [t.get_text() for t in (*axis.get_yticklabels(), *axis.get_xticklabels())]
        legend = axis.get_legend()
        found += [t.get_text() for t in legend.get_texts()] if legend else []
    return found


def occlusion(ch_names):
    n = len(ch_names)
    return Occlusion(
        metric="m", value=0.5, n=9, ch_names=ch_names, radius=0.0,
        channel_drop=[0.01 * i for i in range(n)], channel_se=[0.01] * n, times=[0.1, 0.2],
        width=0.1, time_drop=[0.0, 0.3], time_se=[0.1, 0.1],
        evoked=[[1e-6 * i, 2e-6, 0.0] for i in range(n)], evoked_times=[0.0, 0.1, 0.2],
    )  # fmt: skip


def test_few_electrodes_are_bars_beside_their_places():
    figure = draw_occlusion(occlusion(MUSE))
    said = texts(figure)
    # Each name at its bar and at its place, the strongest bar first.
    assert [said.count(name) for name in MUSE] == [2, 3, 3, 3]  # the last three have a trace too
    bars = next(axis for axis in figure.axes if axis.patches and axis.get_yticklabels())
    labels = [t.get_text() for t in bars.get_yticklabels()]
    assert labels == ["TP10", "AF8", "AF7", "TP9"]
    np.testing.assert_allclose([p.get_width() for p in bars.patches], [0.03, 0.02, 0.01, 0.0])


def test_unknown_electrodes_are_bars_alone_the_strongest():
    figure = draw_occlusion(occlusion([f"E{i}" for i in range(40)]))
    said = texts(figure)
    assert "loss, 16 of 40" in said
    assert "E39" in said
    assert "E23" not in said
    assert len(figure.axes) == 3


def test_many_electrodes_are_a_topography():
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"]
    figure = draw_occlusion(occlusion(names))
    said = texts(figure)
    assert "loss with 100 ms covered (band: 95 %)" in said
    images = [image for axis in figure.axes for image in axis.get_images()]
    assert images
    # Zero is in the middle of the colours: a gain is not painted as a loss.
    assert images[0].get_clim() == pytest.approx((-0.09, 0.09))
    assert {"O2", "O1", "P4"} <= set(said)


def test_a_topography_of_nothing_is_drawn_too():
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4"]
    record = occlusion(names).model_copy(update={"channel_drop": [0.0] * 8})
    assert "loss" in texts(draw_occlusion(record))
