"""Windows: counts, positions, per-recording scaling, what is left out."""

from pathlib import Path

import mne
import numpy as np
import pytest

from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.recordings.recording import Recording, hash_samples
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.windows.cut import build_windows, scale_windows
from dreamdiffusion.trials.windows.store import WindowStore

PLAIN = SignalConfig(l_freq=None, h_freq=None, sfreq=100.0)


def make_recording(data, name="a.edf", subject="1", ch_names=("Fz", "Cz")):
    raw = mne.io.RawArray(
        np.array(data), mne.create_info(list(ch_names), 100.0, "eeg"), verbose="error"
    )
    return Recording(raw, subject, "1", "1", Path(name), None, hash_samples(raw))


def noise(seed=0, n_times=1000):
    return np.random.default_rng(seed).normal(0, 10e-6, (2, n_times))


def config(folder, **more):
    return PrepareConfig(
        kind="windows", output=folder, **{"signal": PLAIN, "scale": "robust", **more}
    )


def test_windows_are_where_they_should_be(tmp_path):
    data = noise()
    folder = build_windows(
        [make_recording(data)], config(tmp_path / "w", window_s=0.5, window_stride_s=0.3)
    )
    windows = WindowStore.load(folder)
    starts = np.arange(0, 951, 30)  # the last window that fits begins at 930
    eeg, positions, present = windows.read(np.arange(len(windows)))
    assert (eeg.shape, eeg.dtype) == ((len(starts), 2, 50), np.float32)
    assert present.all()
    np.testing.assert_allclose(positions[-1], electrode_positions(["Fz", "Cz"]), atol=1e-5)
    np.testing.assert_allclose(windows.metadata.start, starts / 100)
    pieces = np.stack([data[:, s : s + 50] for s in starts])
    middle = np.median(pieces, axis=(0, 2), keepdims=True)
    width = 1.4826 * np.median(np.abs(pieces - middle), axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(eeg, pieces / width, rtol=5e-4)  # half precision on disk
    assert windows.montages == [["Fz", "Cz"]]
    assert (windows.sfreq, windows.n_chans, windows.n_times, len(windows)) == (100.0, 2, 50, 32)


def test_recordings_are_scaled_apart(tmp_path):
    recordings = [make_recording(noise(1)), make_recording(50 * noise(2), "b.edf", "2")]
    windows = WindowStore.load(build_windows(recordings, config(tmp_path / "w", scale="whiten")))
    assert windows.metadata.subject.tolist() == ["1"] * 20 + ["2"] * 20
    for rows in (slice(0, 20), slice(20, 40)):
        piece = windows.read(np.arange(40)[rows]).eeg.astype(float)
        covariance = np.einsum("nct,ndt->cd", piece, piece) / (20 * 50)
        np.testing.assert_allclose(covariance, np.eye(2), atol=1e-3)


def test_whitening_by_hand():
    # Channel b = 3 x channel a + independent part; R = [[1, 3], [3, 10]] for these samples.
    a, b = np.array([1.0, 1, -1, -1]), np.array([4.0, 2, -2, -4])
    scaled = scale_windows(np.stack([a, b])[None], "whiten")[0]
    np.testing.assert_allclose(scaled @ scaled.T / 4, np.eye(2), atol=1e-5)
    covariance = np.array([[1.0, 3.0], [3.0, 10.0]])
    # The symmetric root: W R W = I and W = W^T, so W x is the scaled signal.
    root = (covariance + np.eye(2)) / np.sqrt(13)  # sqrt(R) = (R + sqrt(det) I) / sqrt(tr + 2)
    np.testing.assert_allclose(root @ scaled, np.stack([a, b]), atol=1e-5)


def test_whitening_after_an_average_reference():
    data = np.random.default_rng(0).normal(size=(5, 3, 40))
    data -= data.mean(axis=1, keepdims=True)
    scaled = scale_windows(data, "whiten").astype(float)
    covariance = np.einsum("nct,ndt->cd", scaled, scaled) / 200
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), [0, 1, 1], atol=1e-5)


def test_scale_refuses():
    with pytest.raises(ValueError, match="expected whiten or robust"):
        scale_windows(np.ones((1, 1, 4)), "huge")
    with pytest.raises(ValueError, match="channel 0 has no deviation"):
        scale_windows(np.ones((1, 1, 4)), "robust")
    with pytest.raises(ValueError, match="nothing but zeros"):
        scale_windows(np.zeros((1, 1, 4)), "whiten")


def test_rejected_windows_are_counted(tmp_path):
    data = noise()
    data[0, 120] = 400e-6
    data[1, 210] = np.nan
    data[0, 300:350] = 0.0
    recording = make_recording(data)
    recording.raw.annotations.append(4.2, 0.1, "BAD_blink")
    recording.raw.annotations.append(5.2, 0.1, "BAD_ACQ_SKIP")
    signal = PLAIN.model_copy(update={"reject_uv": 200.0})
    windows = WindowStore.load(build_windows([recording], config(tmp_path / "w", signal=signal)))
    assert windows.info["rejected"] == {
        "gap": 1, "nan": 1, "clipped": 0, "bad_annotation": 1, "flat": 1, "peak_to_peak": 1,
        "range": 0,
    }  # fmt: skip
    assert len(windows) == 15


def test_a_broken_recording_is_left_out_and_named_unless_strict(tmp_path):
    (tmp_path / "broken.edf").write_bytes(b"no")
    items = [
        make_recording(noise(1)),
        tmp_path / "broken.edf",
        make_recording(noise(1), "copy.edf"),
        make_recording(noise(3), "other.edf", ch_names=("Pz", "Oz")),
        make_recording(noise(2), "b.edf", "2"),
    ]
    windows = WindowStore.load(build_windows(items, config(tmp_path / "w")))
    assert windows.metadata.recording.unique().tolist() == ["a.edf", "other.edf", "b.edf"]
    assert windows.montages == [["Fz", "Cz"], ["Pz", "Oz"]]
    skipped = windows.info["skipped"]
    assert [Path(name).name for name in skipped] == ["broken.edf", "copy.edf"]
    assert "cannot be read" in skipped[str(tmp_path / "broken.edf")]
    assert "same recording as a.edf" in skipped["copy.edf"]
    with pytest.raises(ValueError, match=r"broken\.edf cannot be read"):
        build_windows(items, config(tmp_path / "strict", strict=True))
    assert not (tmp_path / "strict" / "info.json").exists()
    with pytest.raises(ValueError, match="none of 1 recordings is usable"):
        build_windows(items[1:2], config(tmp_path / "none"))
    with pytest.raises(ValueError, match="no recording was given"):
        build_windows([], config(tmp_path / "none"))
    with pytest.raises(
        ValueError, match=r"window_stride_s 0\.001, expected .* one sample \(0\.01 s"
    ):
        build_windows(items, config(tmp_path / "none", window_stride_s=0.001))


def test_jobs_change_nothing(tmp_path):
    items = [make_recording(noise(seed), f"{seed}.edf") for seed in range(3)]
    one = WindowStore.load(build_windows(items, config(tmp_path / "1")))
    two = WindowStore.load(build_windows(items, config(tmp_path / "2", jobs=2)))
    rows = np.arange(len(one))
    np.testing.assert_array_equal(one.read(rows).eeg, two.read(rows).eeg)
    assert one.metadata.equals(two.metadata)
