"""From a file to the answer of the page, through tiny decoders."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from tiny import ORDER, finetune_config, prior_config

from dreamdiffusion.cli.app.drawing import Drawing, another_of_each
from dreamdiffusion.cli.app.jobs import Order
from dreamdiffusion.cli.app.models import DIALS, Models, about_model
from dreamdiffusion.cli.app.samples import SAMPLES, Samples
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.trials.cut import cut_trials
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

SFREQ = 100.0


def write_recording(path: Path, kinds: tuple[str, str] = ("square", "disc")) -> Path:
    """Write 24 pictures a second apart; the amplitude after each tells its kind."""
    rng = np.random.default_rng(0)
    data = 5e-6 * rng.standard_normal((3, 2800))
    onsets = 2.0 + np.arange(len(ORDER))
    for kind, onset in zip(ORDER, onsets, strict=True):
        data[:, round(onset * SFREQ) :][:, :16] += 3e-5 * (1 if kind else -1)
    raw = mne.io.RawArray(data, mne.create_info(["C1", "C2", "C3"], SFREQ, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(onsets, 0.5, [kinds[kind] for kind in ORDER]))
    mne.export.export_raw(path, raw, verbose="error")
    return path


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Drawing:
    """Both decoders that draw, fitted for a few steps on the recording."""
    folder = tmp_path_factory.mktemp("models")
    path = write_recording(folder / "person.edf")
    cut = cut_trials(
        [read_recording(path)], signal={"sfreq": SFREQ, "l_freq": None, "h_freq": None},
        tmin=0.0, tmax=0.16, pair_by="none",
    )  # fmt: skip
    for name, make in (("dreamdiffusion", finetune_config), ("prior", prior_config)):
        config = make(folder)
        trials = replace(
            Trials.load(config.data), data=cut.data, ch_names=cut.ch_names, signal=cut.signal
        )
        decoder = registry[name].fit(trials, make_split(trials, config), config)
        decoder.save(folder / f"{name}-model")
    models = Models([folder / f"{name}-model" for name in DIALS], None, "cpu")
    return Drawing(models, Samples(folder / "samples", folder))


def draw(drawing: Drawing, path: Path, model: str, **asked: object) -> tuple[str, list[str]]:
    stages: list[str] = []
    order = Order("", path, path.name, f"{model}-model", 2, **asked)  # type: ignore[arg-type]
    return drawing(order, stages.append), stages


@pytest.mark.parametrize(("model", "dial"), [("dreamdiffusion", 2.0), ("prior", 0.5)])
def test_an_upload_becomes_images_beside_their_control(drawing, model, dial, tmp_path):
    path = write_recording(tmp_path / "person.edf")
    html, stages = draw(drawing, path, model, dial=dial, text="a red square")
    assert stages[0] == "Reading the recording." and stages[-1] == "Writing the page."
    assert html.count("<article") == 3  # two moments, and the text
    captions = {
        "Drawn from the EEG of this moment": 1 if model == "prior" else 4,
        "Control: the EEG of another moment": 1 if model == "prior" else 4,
    } | ({"Drawn by how likely this EEG makes them": 4} if model == "prior" else {})
    for caption, n in captions.items():
        rows = re.findall(rf"<figcaption>{caption}</figcaption>(.*?)</figure>", html, re.S)
        assert [row.count("<img ") for row in rows] == [n, n]
        assert all("data:image/png;base64," in row for row in rows)
    assert len(re.findall(r"Drawn from the text a red square", html)) == 2
    assert re.search(r"in \d+ of 24 pictures", html)
    assert "Mean response of 3 channels to 24 pictures" in html
    assert str(tmp_path) not in html
    own = re.search(r"of this moment</figcaption>(.*?)</figure>", html, re.S)
    other = re.search(r"another moment</figcaption>(.*?)</figure>", html, re.S)
    assert own and other and own.group(1) != other.group(1)


def test_the_same_order_gives_the_same_page(drawing, tmp_path):
    path = write_recording(tmp_path / "person.edf")
    assert draw(drawing, path, "prior")[0] == draw(drawing, path, "prior")[0]


def test_hostile_and_unknown_kinds(drawing, tmp_path):
    path = write_recording(tmp_path / "person.edf", ("<script>1</script>", "S 2"))
    html, _ = draw(drawing, path, "dreamdiffusion")
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert "Nobody can tell whether these images are right." in html


def test_a_recording_that_does_not_fit_is_refused(drawing, tmp_path):
    raw = mne.io.RawArray(
        1e-5 * np.random.default_rng(0).standard_normal((2, 500)),
        mne.create_info(["C1", "Oz"], SFREQ, "eeg"), verbose="error",
    )  # fmt: skip
    raw.set_annotations(mne.Annotations([1.0, 2.0], 0.5, ["square", "disc"]))
    path = tmp_path / "other.edf"
    mne.export.export_raw(path, raw, verbose="error")
    with pytest.raises(ValueError, match="C2"):
        draw(drawing, path, "prior")
    raw.set_annotations(None)
    mne.export.export_raw(path, raw, overwrite=True, verbose="error")
    with pytest.raises(ValueError, match="no events"):
        draw(drawing, path, "prior")


def test_the_control_is_always_another_moment(rng):
    places = np.arange(7)
    for _ in range(50):
        others = another_of_each(7, places, rng)
        assert others is not None
        assert (others != places).all()
        assert set(others) <= set(range(7))
    assert another_of_each(1, np.arange(1), rng) is None


def test_what_the_page_says_of_models(tmp_path):
    bundled = about_model(Path("weights/eeg-scenes"))
    scores = json.loads(Path("weights/eeg-scenes/scores.json").read_text("utf-8"))["scores"]
    (right,) = (one["value"] for one in scores if one["metric"] == "category_top1")
    told = f"On 96 held-out SIMULATED pictures it was right in {right:.0%}".replace("%", " %")
    assert told in bundled.text
    assert bundled.dial == DIALS["dreamdiffusion"]
    with pytest.raises(FileNotFoundError, match="holds no decoder"):
        about_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no model folder"):
        about_model(tmp_path / "nowhere")
    (tmp_path / "decoder.json").write_text('{"decoder": "prior"}')
    assert about_model(tmp_path).text.startswith("It was not evaluated")
    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(ValueError, match="is not a record of scores"):
        about_model(tmp_path)


def test_samples_are_offered_where_the_model_says_how_its_person_was_simulated(tmp_path):
    assert Samples(tmp_path, tmp_path).offered == []
    offered = Samples(tmp_path, Path("weights/eeg-scenes")).offered
    assert offered == [sample.about for sample in SAMPLES]
    assert all("SIMULATED" in about.title for about in offered)
    title = Samples(tmp_path, Path("weights/eeg-scenes")).title("stranger")
    assert title == "A person the model does not know (SIMULATED)"


def test_a_sample_is_simulated_once(tmp_path, monkeypatch):
    from dreamdiffusion.cli.app import samples as module

    monkeypatch.setattr(module, "N_TRIALS", 3)
    (tmp_path / "recording.json").write_text('{"n_runs": 2, "montage": "muse4"}')
    samples = Samples(tmp_path / "s", tmp_path)
    path = samples.path("noisy")
    recording = read_recording(path)
    assert recording.simulated and recording.run == "03"
    assert recording.events is not None and len(recording.events) == 3
    monkeypatch.setattr(module, "simulate", None)
    assert samples.path("noisy") == path
