"""The simulated viewer: every statement of docs/simulation.md that a number can hold to."""

from __future__ import annotations

import dataclasses
import json

import mne
import mne_bids
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.simulation import noise, sources, vision
from dreamdiffusion.datasets.simulation.bids import balanced_scenes, simulate
from dreamdiffusion.datasets.simulation.noise import BackgroundLevels
from dreamdiffusion.datasets.simulation.person import Viewer
from dreamdiffusion.datasets.simulation.response import RESPONSE, evoked_response
from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, Scene, render
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL, MARGIN, SOA, simulate_run

SFREQ = 256.0
TINY = 16


@pytest.fixture(scope="module")
def viewer() -> Viewer:
    return Viewer.create(1, "easycap64", 0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return balanced_scenes(np.random.default_rng(0), 48)


def run(viewer: Viewer, scenes: list[Scene], noise_level: float, seed: int = 0, **more):
    rng = np.random.default_rng(seed)
    return simulate_run(
        viewer, scenes, sfreq=SFREQ, noise_level=noise_level, rng=rng, image_size=32, **more
    )


def cut(raw: mne.io.BaseRaw, events: pd.DataFrame, tmin: float, tmax: float) -> np.ndarray:
    starts = np.round((events["onset"].to_numpy() + tmin) * SFREQ).astype(int)
    data = raw.get_data()
    return np.stack([data[:, s : s + round((tmax - tmin) * SFREQ)] for s in starts])


def spot(place: tuple[int, int]) -> np.ndarray:
    """A grey picture with a checkerboard in one cell of the retinotopic grid."""
    picture = np.full((1, 32, 32, 3), 128, np.uint8)
    row, column = (8 * i for i in place)
    board = np.indices((8, 8)).sum(axis=0) % 2 * 255
    picture[0, row : row + 8, column : column + 8] = board[..., None]
    return picture


# -- who looks, and where the sources are ---------------------------------------------------------


def test_same_person_and_seed_give_the_same_recording(viewer, scenes):
    first, events = run(Viewer.create(1, "easycap64", 0), scenes[:4], 1.0)
    second, again = run(viewer, scenes[:4], 1.0)
    np.testing.assert_array_equal(first.get_data(), second.get_data())
    pd.testing.assert_frame_equal(events, again)
    other, _ = run(viewer, scenes[:4], 1.0, seed=1)
    assert other.n_times != first.n_times or not np.array_equal(other.get_data(), first.get_data())


def test_people_differ_but_code_categories_alike(viewer):
    other = Viewer.create(2, "easycap64", 0)
    assert other.latency_shift != viewer.latency_shift
    assert other.gain != viewer.gain
    assert other.head_size != viewer.head_size
    assert other.alpha_freq != viewer.alpha_freq
    np.testing.assert_array_equal(other.color_code, viewer.color_code)
    same = np.corrcoef(other.category_code.ravel(), viewer.category_code.ravel())[0, 1]
    # Shared part 1 and personal part 0.35: expected correlation 1 / (1 + 0.35**2) = 0.89.
    assert same == pytest.approx(0.89, abs=0.03)
    elsewhere = Viewer.create(1, "easycap64", 5).category_code
    assert np.corrcoef(elsewhere.ravel(), viewer.category_code.ravel())[0, 1] > 0.8


def test_person_keeps_traits_under_another_cap(viewer):
    muse = Viewer.create(1, "muse4", 0)
    assert muse.ch_names == ["TP9", "AF7", "AF8", "TP10"]
    assert (muse.latency_shift, muse.alpha_freq) == (viewer.latency_shift, viewer.alpha_freq)
    # Both see the same head: TP10 - TP9 does not depend on the reference.
    wide = viewer.leadfields["higher"]
    index = [viewer.ch_names.index(name) for name in ("TP10", "TP9")]
    narrow = muse.leadfields["higher"]
    np.testing.assert_allclose(wide[index[0]] - wide[index[1]], narrow[3] - narrow[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("montage", "n_chans"),
    [("muse4", 4), ("emotiv14", 14), ("easycap32", 32), ("easycap64", 64), ("biosemi128", 128)],
)
def test_every_montage_records(montage, n_chans, scenes):
    raw, _ = run(Viewer.create(3, montage, 0), scenes[:3], 1.0)
    assert len(set(raw.ch_names)) == n_chans == len(raw.ch_names)
    assert len(raw.get_montage().get_positions()["ch_pos"]) == n_chans
    ratio = raw.copy().filter(1, 40, verbose="error").get_data()
    assert np.linalg.matrix_rank(ratio * 1e6) >= n_chans - 1


def test_average_reference_sums_to_zero():
    gain = sources.compute_leadfield("biosemi128", sources.higher_visual())
    np.testing.assert_allclose(gain.sum(axis=0), 0, atol=1e-9 * np.abs(gain).max() * len(gain))


def test_leadfield_falls_with_the_square_of_the_head():
    small = sources.compute_leadfield("muse4", sources.higher_visual(), 0.95)
    large = sources.compute_leadfield("muse4", sources.higher_visual(), 1.05)
    np.testing.assert_allclose(small / large, (1.05 / 0.95) ** 2, rtol=1e-3)


def test_dipole_outside_the_brain_is_named():
    dipoles = sources.Dipoles(np.array([[0, 0, 0.97]]), np.array([[0, 0, 1.0]]))
    with pytest.raises(ValueError, match=r"1 of 1 dipoles lie outside the brain"):
        sources.compute_leadfield("muse4", dipoles)


def test_unknown_montage_is_named():
    with pytest.raises(ValueError, match=r"montage is 'muse5', expected one of muse4, "):
        Viewer.create(1, "muse5", 0)
    with pytest.raises(ValueError, match="subject is -1"):
        Viewer.create(-1, "muse4", 0)


# -- the evoked response --------------------------------------------------------------------------


def test_without_noise_the_recording_is_the_response(viewer, scenes):
    raw, events = run(viewer, scenes[:6], 0.0)
    pictures = vision.as_array([render(scene, 32) for scene in scenes[:6]])
    expected = evoked_response(viewer, pictures, [s.category for s in scenes[:6]], SFREQ)
    np.testing.assert_allclose(cut(raw, events, 0, 166 / SFREQ), expected, rtol=0, atol=1e-15)
    assert expected.shape == (6, 64, round(RESPONSE * SFREQ))
    before = raw.get_data()[:, : round(MARGIN * SFREQ)]
    assert not before.any()


def test_latencies_of_the_average(viewer, scenes):
    raw, events = run(viewer, scenes, 0.0)
    average = cut(raw, events, 0, 0.6).mean(axis=0)
    time = np.arange(average.shape[1]) / SFREQ - viewer.latency_shift

    def peak(name: str, low: float, high: float, sign: int) -> float:
        inside = (time > low) & (time < high)
        return time[inside][np.argmax(sign * average[viewer.ch_names.index(name), inside])]

    assert peak("O2", 0.05, 0.15, 1) == pytest.approx(0.100, abs=0.008)
    assert peak("TP10", 0.05, 0.25, -1) == pytest.approx(0.170, abs=0.008)
    assert peak("TP9", 0.22, 0.5, 1) == pytest.approx(0.280, abs=0.012)


def test_category_is_told_from_150_to_400_ms(viewer):
    picture = np.repeat(spot((1, 1)), len(CATEGORIES), axis=0)
    response = evoked_response(viewer, picture, CATEGORIES, SFREQ)
    spread = response.std(axis=0).max(axis=0)  # the same picture: only the category differs
    time = np.arange(len(spread)) / SFREQ
    inside = (time > 0.15) & (time < 0.38)
    assert spread[inside].min() > 0.08 * spread.max()
    assert spread[time < 0.08].max() < 0.01 * spread.max()


@pytest.mark.parametrize("place", [(row, column) for row in range(4) for column in (0, 1)])
def test_left_half_of_the_field_excites_the_right_hemisphere(viewer, place):
    index = [viewer.ch_names.index(name) for name in ("PO8", "PO7")]
    picture = spot(place)
    both = np.concatenate([picture, picture[:, :, ::-1]])  # left, right: all else is the same
    response = evoked_response(viewer, both, ["cup", "cup"], SFREQ)
    at = round((0.1 + viewer.latency_shift) * SFREQ)
    right, left = (response[0] - response[1])[index, at]
    assert right > 1e-7
    assert left < -1e-7


def test_color_reaches_the_response_and_place_of_color_does_not_matter(viewer):
    def patch(rgb: tuple[int, int, int]) -> np.ndarray:
        picture = np.full((1, 32, 32, 3), 128, np.uint8)
        picture[0, 8:24, 8:24] = rgb
        return picture

    red, blue = patch((214, 38, 40)), patch((38, 102, 218))
    axes = vision.figure_color(np.concatenate([red, blue]))
    np.testing.assert_allclose(axes[0], vision.opponent_axes(np.array([214, 38, 40]) / 255), 1e-4)
    np.testing.assert_allclose(axes[1], vision.opponent_axes(np.array([38, 102, 218]) / 255), 1e-4)
    difference = evoked_response(viewer, red, ["cup"], SFREQ) - evoked_response(
        viewer, blue, ["cup"], SFREQ
    )
    strength = np.abs(difference[0]).max(axis=0)
    assert 0.1 < strength.argmax() / SFREQ - viewer.latency_shift < 0.15
    assert strength.max() > 1e-6


def test_contrast_of_uniform_and_checkered_cells():
    contrast = vision.local_contrast(spot((2, 3)))[0].reshape(4, 4)
    expected = np.zeros((4, 4))
    expected[2, 3] = 0.5  # black and white in equal parts: luminance deviates by one half
    np.testing.assert_allclose(contrast, expected, atol=1e-3)


def test_wrong_input_is_named(viewer, scenes):
    with pytest.raises(ValueError, match="category is 'unicorn'"):
        evoked_response(viewer, spot((0, 0)), ["unicorn"], SFREQ)
    with pytest.raises(ValueError, match="1 pictures but 2 categories"):
        evoked_response(viewer, spot((0, 0)), ["cup", "car"], SFREQ)
    with pytest.raises(ValueError, match=r"float64 of shape \(2, 2\)"):
        vision.local_contrast(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="noise_level is -1"):
        run(viewer, scenes[:2], -1)
    with pytest.raises(ValueError, match="scenes is empty"):
        run(viewer, [], 1)
    with pytest.raises(ValueError, match=r"sfreq is 99.5 Hz"):
        simulate_run(viewer, scenes[:2], sfreq=99.5, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 scenes, 2 pictures and 1 stim_files"):
        run(viewer, scenes[:2], 1, stim_files=["a.png"])


# -- the background -------------------------------------------------------------------------------


def slope(signal: np.ndarray, low: float, high: float) -> float:
    power, freqs = mne.time_frequency.psd_array_welch(
        signal, SFREQ, low, high, n_fft=512, verbose="error"
    )
    return float(np.polyfit(np.log(freqs), np.log(power.mean(axis=0)), 1)[0])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_spectrum_falls_as_asked(exponent):
    rng = np.random.default_rng(1)
    signal = noise.one_over_f(rng, 40, 10_001, SFREQ, exponent)
    assert signal.shape == (40, 10_001)
    assert slope(signal, 2, 60) == pytest.approx(-exponent, abs=0.05)
    assert signal.var(axis=1).mean() == pytest.approx(1.0, abs=0.1)


def test_spectrum_of_the_recording_is_one_over_f(viewer, scenes):
    quiet = BackgroundLevels(alpha_uv=0, blinks_per_minute=0, line_uv=0, bad_channel_probability=0)
    raw, _ = run(viewer, scenes, 1.0, levels=quiet)
    assert slope(raw.get_data(), 2, 20) == pytest.approx(-1.0, abs=0.15)


def test_narrow_band_stays_narrow():
    signal = noise.narrow_band(np.random.default_rng(2), 30, 8192, SFREQ, 10.0, 1.0)
    power, freqs = mne.time_frequency.psd_array_welch(signal, SFREQ, 1, 40, n_fft=1024, verbose=40)
    mean = power.mean(axis=0)
    centre = np.average(freqs, weights=mean)
    assert centre == pytest.approx(10.0, abs=0.1)
    assert np.sqrt(np.average((freqs - centre) ** 2, weights=mean)) == pytest.approx(1.0, abs=0.1)


def test_alpha_drops_after_onset(viewer, scenes):
    only = BackgroundLevels(
        cortex_uv=0, sensor_uv=0, drift_uv=0, line_uv=0, blinks_per_minute=0,
        bad_channel_probability=0,
    )  # fmt: skip
    raw, events = run(viewer, scenes, 1.0, levels=only)
    silent, _ = run(viewer, scenes, 0.0)
    rows = [viewer.ch_names.index(name) for name in ("O1", "Oz", "O2", "POz")]
    # The evoked response of noise level 0 has no jitter; 10 % of it stays, far below alpha.
    trials = cut(raw, events, -0.1, 0.5)[:, rows] - cut(silent, events, -0.1, 0.5)[:, rows]
    power = np.square(trials).mean(axis=(0, 1))
    time = np.arange(len(power)) / SFREQ - 0.1
    before, after = power[time < 0.05].mean(), power[(time > 0.27) & (time < 0.45)].mean()
    # Amplitude falls by 60 %, so power to 0.16.
    assert 0.1 < after / before < 0.35


def test_envelope_of_one_onset():
    envelope = noise.desynchronisation(np.array([100]), 600, 100.0, 0.6)
    assert envelope[:100].min() > 0.99
    assert envelope.min() == pytest.approx(0.4)
    assert 0.25 < (envelope.argmin() - 100) / 100.0 < 0.5
    assert envelope[190:].min() == 1.0


def test_line_noise_is_at_its_frequency_or_absent():
    rng = np.random.default_rng(3)
    hum = noise.line_noise(rng, 4, 2560, SFREQ, 50.0)
    freqs = np.fft.rfftfreq(2560, 1 / SFREQ)
    assert (freqs[np.abs(np.fft.rfft(hum)).argmax(axis=1)] == 50.0).all()
    assert np.sqrt(np.mean(hum**2)) == pytest.approx(1.0, abs=0.2)
    assert not noise.line_noise(rng, 4, 2560, 100.0, 50.0).any()


def test_blinks_come_at_their_rate_and_are_frontal(viewer):
    signal = noise.blink_signal(np.random.default_rng(4), 600 * 256, SFREQ, 10.0)
    starts = np.flatnonzero((signal[1:] > 0.4) & (signal[:-1] <= 0.4))
    assert 70 <= len(starts) <= 125  # Poisson with mean 100, some overlap
    eye = np.abs(viewer.leadfields["eye"][:, 0])
    assert viewer.ch_names[int(eye.argmax())] in ("Fp1", "Fp2")


def test_bad_channel_is_one_channel_for_a_while(viewer, scenes):
    always = BackgroundLevels(bad_channel_probability=1.0)
    never = dataclasses.replace(always, bad_channel_probability=0.0)
    bad, _ = run(viewer, scenes, 1.0, levels=always)
    good, _ = run(viewer, scenes, 1.0, levels=never)
    differs = bad.get_data() != good.get_data()
    assert (differs.any(axis=1)).sum() == 1
    assert 15.0 <= differs.sum() / SFREQ <= 60.0


def test_background_is_in_microvolts_and_scales_with_noise_level(viewer, scenes):
    raw, events = run(viewer, scenes, 1.0)
    filtered = raw.copy().filter(1, 40, verbose="error")
    typical = np.median(np.abs(filtered.get_data()), axis=1) / 0.6745 * 1e6
    assert 3 < np.median(typical) < 15
    spread = np.percentile(np.ptp(cut(filtered, events, 0, 0.5), axis=2), [5, 50]) * 1e6
    assert (spread > 10).all() and (spread < 100).all()
    half = run(viewer, scenes, 0.5)[0].get_data() - run(viewer, scenes, 0.0)[0].get_data()
    full = raw.get_data() - run(viewer, scenes, 0.0)[0].get_data()
    still = slice(0, round(MARGIN * SFREQ))  # before the first picture: background alone
    np.testing.assert_allclose(full[:, still], 2 * half[:, still], rtol=1e-9)


# -- events, and the folder -----------------------------------------------------------------------


def test_events_describe_the_scenes(viewer, scenes):
    raw, events = run(viewer, scenes, 0.0)
    assert list(events) == [
        "onset", "duration", "trial_type", "stim_file", "color", "place", "background", "caption",
    ]  # fmt: skip
    assert events["trial_type"].tolist() == [scene.category for scene in scenes]
    assert events["caption"].tolist() == [scene.caption for scene in scenes]
    gaps = np.diff(events["onset"])
    assert gaps.min() >= SOA[0] - 1 / SFREQ and gaps.max() <= SOA[1] + 1 / SFREQ
    assert len(set(gaps)) > 20
    assert events["onset"].iloc[0] == MARGIN
    assert raw.times[-1] >= events["onset"].iloc[-1] + MARGIN - 1 / SFREQ
    assert raw.n_times % SFREQ == 0


def test_categories_are_balanced_and_in_random_order():
    scenes = balanced_scenes(np.random.default_rng(0), 72)
    names = [scene.category for scene in scenes]
    assert {names.count(category) for category in CATEGORIES} == {3}
    assert names != [s.category for s in balanced_scenes(np.random.default_rng(1), 72)]
    assert len(set(names[:24])) < 24  # not blocked
    assert len({s.category for s in balanced_scenes(np.random.default_rng(0), 10)}) == 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "bids"
    config = SimulateConfig(
        output=root, montage="muse4", n_subjects=2, n_runs=2, trials_per_run=6, image_size=TINY
    )
    return simulate(config), config


def bids_path(root, subject: int, run: int) -> mne_bids.BIDSPath:
    return mne_bids.BIDSPath(
        subject=f"{subject:02d}", session="01", task="viewing", run=f"{run:02d}", datatype="eeg",
        suffix="eeg", extension=".edf", root=root,
    )  # fmt: skip


def test_folder_reads_back(folder):
    root, config = folder
    path = bids_path(root, 2, 1)
    raw = mne_bids.read_raw_bids(path, verbose="error")
    rng = np.random.default_rng([0, 2, 1, 2])
    scenes = balanced_scenes(rng, 6)
    viewer = Viewer.create(2, "muse4", 0)
    expected, events = simulate_run(
        viewer, scenes, sfreq=config.sfreq, noise_level=DEFAULT_NOISE_LEVEL, rng=rng,
        image_size=TINY,
    )  # fmt: skip
    step = np.ptp(expected.get_data(), axis=1, keepdims=True) / 2**16
    assert raw.ch_names == expected.ch_names
    assert raw.get_data().shape == expected.get_data().shape
    assert (np.abs(raw.get_data() - expected.get_data()) <= 1.01 * step).all()
    assert step.max() < 0.02e-6
    table = pd.read_csv(str(path.fpath).replace("_eeg.edf", "_events.tsv"), sep="\t")
    np.testing.assert_allclose(table["onset"], events["onset"], atol=1e-9)
    for column in ("duration", "trial_type", "color", "place", "background", "caption"):
        assert table[column].tolist() == events[column].tolist()
    assert table["value"].tolist() == [CATEGORIES.index(c) + 1 for c in events["trial_type"]]
    found = raw.get_montage().get_positions()["ch_pos"]["TP9"]
    template = expected.get_montage().get_positions()["ch_pos"]["TP9"]
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(template), rel=0.2)


def test_every_trial_shows_its_own_picture(folder):
    root, _ = folder
    tables = [pd.read_csv(p, sep="\t") for p in sorted(root.rglob("*_events.tsv"))]
    names = pd.concat(tables)["stim_file"]
    assert len(tables) == 4 and len(names) == 24
    assert names.is_unique
    pixels = set()
    for name in names:
        picture = Image.open(root / "stimuli" / name)
        assert picture.size == (TINY, TINY) and picture.mode == "RGB"
        pixels.add(picture.tobytes())
    assert len(pixels) == 24
    assert len(list((root / "stimuli").rglob("*.png"))) == 24


def test_the_same_pictures_in_every_run_of_every_session(tmp_path):
    config = SimulateConfig(
        output=tmp_path / "known", montage="muse4", n_subjects=2, n_sessions=2, n_runs=1,
        n_pictures=3, trials_per_run=7, image_size=TINY,
    )  # fmt: skip
    root = simulate(config)
    assert "every run shows the same 3 pictures" in (root / "README").read_text("utf-8")
    names = [f"picture-{i:03d}.png" for i in (1, 2, 3)]
    assert sorted(p.name for p in (root / "stimuli").rglob("*.png")) == names
    tables = {p.name[:13]: pd.read_csv(p, sep="\t") for p in root.rglob("*_events.tsv")}
    assert sorted(tables) == [
        f"sub-{who}_ses-{day}" for who in ("01", "02") for day in ("01", "02")
    ]
    orders = set()
    for table in tables.values():
        assert sorted(table["stim_file"].value_counts().tolist()) == [2, 2, 3]
        assert table.groupby("stim_file")["trial_type"].nunique().max() == 1
        orders.add(tuple(table["stim_file"]))
    assert len(orders) == 4
    with pytest.raises(ValueError, match=r"n_pictures is 9, more than the 7 trials of a run"):
        simulate(config.model_copy(update={"output": tmp_path / "many", "n_pictures": 9}))


def test_folder_says_that_it_is_simulated(folder):
    root, _ = folder
    assert (root / "README").read_text("utf-8").startswith("SIMULATED")
    assert "SIMULATED" in json.loads((root / "dataset_description.json").read_text())["Name"]
    sidecar = json.loads(bids_path(root, 1, 1).update(extension=".json").fpath.read_text())
    assert "SIMULATED" in sidecar["TaskDescription"]
    assert sidecar["EEGReference"] == "Fpz"
    assert sidecar["PowerLineFrequency"] == 50.0
    assert sidecar["SimulatedNoiseLevel"] == DEFAULT_NOISE_LEVEL


def test_people_are_added_and_never_overwritten(folder):
    root, config = folder
    with pytest.raises(FileExistsError, match=r"already holds sub-02.*first_subject"):
        simulate(config.model_copy(update={"first_subject": 2}))
    before = bids_path(root, 1, 1).fpath.read_bytes()
    simulate(config.model_copy(update={"first_subject": 3, "n_subjects": 1, "n_runs": 1}))
    assert bids_path(root, 1, 1).fpath.read_bytes() == before
    assert pd.read_csv(root / "participants.tsv", sep="\t")["participant_id"].tolist() == [
        "sub-01", "sub-02", "sub-03",
    ]  # fmt: skip


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="something else than a BIDS folder"):
        simulate(SimulateConfig(output=tmp_path))
    with pytest.raises(FileExistsError, match="is a file"):
        simulate(SimulateConfig(output=tmp_path / "thesis.txt"))
