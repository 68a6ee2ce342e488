"""`run`: from recordings of one's own to a report, and again without doing anything twice."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from photo_space import stand_in
from PIL import Image
from score_records import minimal

from dreamdiffusion.cli.config import RunConfig
from dreamdiffusion.cli.own import plan
from dreamdiffusion.cli.own.command import run
from dreamdiffusion.cli.own.plan import (
    add_parts,
    check_enough,
    plan_prepare,
    plan_split,
    reject_limit,
)
from dreamdiffusion.cli.own.words import _of_100, in_rows, in_words
from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.config import ATTRIBUTES, ReaderConfig
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.evidence.scores import Score, Scores
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.recordings.config import StatedConfig
from dreamdiffusion.report import write
from dreamdiffusion.studies import known_pictures
from dreamdiffusion.studies.known_pictures import _before_others
from dreamdiffusion.trials.trials import Trials

CHANNELS = ["TP9", "AF7", "AF8", "TP10"]
PICTURES = ["cats/tom", "cats/kit", "dogs/rex", "dogs/max"]


@pytest.fixture
def pictures(tmp_path):
    for grey, name in enumerate(PICTURES):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (60 * grey,) * 3).save(path)
    return tmp_path / "pictures"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(plan, "LEAST_STEPS", 40)
    monkeypatch.setattr(plan, "MOST_STEPS", 40)
    monkeypatch.setitem(plan.FEW_OF_CLASSES, "ensemble", 1)


@pytest.fixture(autouse=True)
def lite0(monkeypatch):
    """A small network stands for Lite0, installed or not."""
    monkeypatch.setattr(plan, "lite_installed", lambda: True)
    return stand_in(monkeypatch)


def record(folder, n_runs=3, n_trials=60, answer_uv=30.0, patterns=None):
    """Muse recordings in which each picture has an answer of its own, 0.2 s after its onset."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    if patterns is None:
        patterns = rng.normal(0, 1, (len(PICTURES), len(CHANNELS)))
    for number in range(1, n_runs + 1):
        step, n = 154, 154 * n_trials + 400
        data, marker = rng.normal(0, 8, (n, len(CHANNELS))), np.zeros(n, int)
        order = rng.permutation(np.resize(np.arange(len(patterns)), n_trials))
        if len(patterns) == n_runs * n_trials:  # each is shown once
            order = np.arange(n_trials) + (number - 1) * n_trials
        for trial, picture in enumerate(order):
            at = 100 + trial * step
            marker[at] = picture + 1
            data[at + 40 : at + 80] += answer_uv * patterns[picture]
        table = pd.DataFrame(data.round(2), columns=CHANNELS)
        table.insert(0, "timestamps", 1.6e9 + np.arange(n) / 256)
        table["Marker"] = marker
        table.to_csv(folder / f"run-{number}.csv", index=False)
    return folder


def shown(tmp_path):
    rows = "\n".join(f"{name}.png,{code + 1}" for code, name in enumerate(PICTURES))
    (tmp_path / "shown.csv").write_text(f"picture,code\n{rows}\n")
    return tmp_path / "shown.csv"


def test_known_pictures_are_told_apart_and_nothing_is_done_twice(tmp_path, pictures, monkeypatch):
    made = []
    drawn = write.draw_gallery

    def draw_gallery(*arguments, **named):
        made.append(named["made"])
        return drawn(*arguments, **named)

    monkeypatch.setattr(write, "draw_gallery", draw_gallery)
    config = RunConfig(
        recordings=[record(tmp_path / "eeg")], pictures=pictures, events=shown(tmp_path),
        output=tmp_path / "own",
    )  # fmt: skip
    found = run(config)
    report = tmp_path / "own" / "scores" / "report.html"
    assert found["report"] == str(report)
    page = report.read_text("utf-8")
    assert "Right picture before another" in page
    assert "<b>Nothing is drawn.</b>" in page and 'alt="generated' not in page
    scores = Scores.model_validate_json(report.with_name("scores.json").read_text("utf-8"))
    assert [s.metric for s in scores.scores] == [
        "picture_two_way", "picture_top1", "category_top1"
    ]  # fmt: skip
    assert scores.scores[0].value > 0.9 and scores.scores[1].value > 0.8
    assert (scores.headline.verdict, scores.headline.known_pictures) == ("above", True)
    assert scores.split.startswith("test run 3")
    assert set(scores.scores[0].controls) == {
        "shuffled_eeg", "phase_randomised_eeg", "no_eeg_prior"
    }  # fmt: skip
    assert "better than without a brain" in found["result"]
    assert "stable-diffusion-v1-5" in found["result"]
    assert "in the space of EfficientNet-Lite0" in found["result"]
    kept = sorted(path.name for path in (tmp_path / "own").glob("*.yaml"))
    assert kept == ["audit.yaml", "bids.yaml", "fit-reader.yaml", "prepare.yaml"]
    commands = (tmp_path / "own" / "steps.txt").read_text().splitlines()
    words = [line.partition(" --")[0].split()[1] for line in commands]
    assert words == ["bids", *["inspect"] * 3, "prepare", "audit", "fit"]
    results = [*(tmp_path / "own").rglob("*.safetensors"), report, *tmp_path.rglob("info.json")]
    before = [path.stat().st_mtime_ns for path in results]
    assert run(config)["scores"] == found["scores"]
    assert [path.stat().st_mtime_ns for path in results] == before
    assert made == ["known, most probable"]
    content = json.loads(report.with_name("scores.json").read_text())
    assert len(content["looks"]) == 1
    reason = {"name": "not_held_out", "what": "these trials were trained on"}
    content["headline"] |= {"verdict": "withheld", "reasons": [reason]}
    fit = ReaderConfig(**read_yaml(tmp_path / "own" / "fit-reader.yaml"))
    words = in_words(Scores.model_validate(content), fit, drawn=False)
    assert "Nothing is claimed" in words
    assert "- not_held_out: these trials were trained on. Evaluate the test side" in words


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.758, 1.0), (0.0, 0.0, 0.242)])
def test_twelve_of_twelve_is_not_certain(value, low, high):
    """Wilson's interval of 12 of 12, by hand: 1 / (1 + 1.96 ** 2 / 12) = 0.758."""
    control = {"value": 0.1, "difference": 0.0, "difference_ci95": (0.0, 0.0)}
    score = Score(
        metric="category_top1", value=value, n=12, chance=0.1, ci95=(value, value), p=0.5,
        controls={"shuffled_eeg": control}, strongest="shuffled_eeg", difference=0.0,
        difference_ci95=(0.0, 0.0),
    )  # fmt: skip
    scores = SimpleNamespace(scores=[score], baselines=[])
    (row,) = in_rows(scores)
    assert (row["from"], row["to"]) == (low, high)
    assert f"({100 * low:.0f} to {100 * high:.0f})" in _of_100(score)
    drawn = score.model_copy(update={"value": 0.5, "ci95": (0.2, 0.8)})
    assert "(20 to 80)" in _of_100(drawn)


def test_noise_alone_is_said_to_be_no_better_than_chance(tmp_path, pictures):
    folder = record(tmp_path / "eeg", n_runs=1, n_trials=120, answer_uv=0.0)
    codes = {"cats": 1, "dogs": 3}
    found = run(
        RunConfig(recordings=[folder], pictures=pictures, codes=codes, output=tmp_path / "own")
    )
    scores = Scores.model_validate_json((tmp_path / "own/scores/scores.json").read_text("utf-8"))
    assert scores.headline.verdict == "not above"
    assert "That is no better than chance" in found["result"]
    assert "Is the marker at the picture's onset?" in found["result"]
    assert scores.split.startswith("test part 5")  # the end of the only recording
    assert next(iter(found["scores"])) == "category_top1"
    trials = Trials.load(tmp_path / "own" / "trials")
    assert trials.pairing == "category"
    n_last = (trials.metadata["part"].astype(str) == "5").sum()
    assert n_last == pytest.approx(len(trials) / 5, abs=2)


def test_of_classes_alone_photographs_of_the_class_are_shown(tmp_path, pictures):
    """The prior, over the folder of one's own pictures."""
    folder = record(tmp_path / "eeg", patterns=np.array([[1, 0, 0, -1], [-1, 0, 0, 1]]))
    codes, own = {"cats": 1, "dogs": 2}, tmp_path / "my own"
    found = run(RunConfig(recordings=[folder], pictures=pictures, codes=codes, output=own))
    assert found["scores"]["category_top1"]["value"] > 0.9
    words = (own / "result.txt").read_text("utf-8")
    assert f"generate --model '{own / 'fit/model'}' --data '{own / 'trials'}' --sample" in words
    steps = [shlex.split(line) for line in (own / "steps.txt").read_text("utf-8").splitlines()]
    assert [line[line.index("--config") + 1] for line in steps if "--config" in line] == [
        str(own / f"{name}.yaml") for name in ("bids", "prepare", "audit", "fit-prior")
    ]
    assert "pictures of the class that the decoder finds most probable" in words
    assert read_yaml(own / "fit-prior.yaml")["clip"] == "photos"
    prior, trials = load_decoder(own / "fit" / "model"), Trials.load(own / "trials")
    last = trials.select((trials.metadata["run"] == "3").to_numpy())
    answer = prior.decode(last, strength=0.0)
    shown = [text[0].split("/")[0] for text in answer.drawn_from]
    assert np.mean(shown == last.metadata["category"]) > 0.9
    tom = to_tensor(read_images([pictures / "cats" / "tom.png"], 224, "crop"))
    kit = to_tensor(read_images([pictures / "cats" / "kit.png"], 224, "crop"))
    first = answer.images[shown.index("cats"), 0]
    assert min(float((first - one[0]).abs().max()) for one in (tom, kit)) < 1e-6
    again = run(RunConfig(recordings=[own / "bids"], output=tmp_path / "of-bids"))
    assert again["scores"]["category_top1"] == found["scores"]["category_top1"]


def test_without_any_picture_the_class_is_named(tmp_path):
    folder = record(tmp_path / "eeg", patterns=np.array([[1, 0, 0, -1], [-1, 0, 0, 1]]))
    (tmp_path / "shown.csv").write_text("label,code\nspoken word,1\nmusic,2\n")
    own = tmp_path / "own"
    found = run(RunConfig(recordings=[folder], events=tmp_path / "shown.csv", output=own))
    assert found["scores"]["category_top1"]["value"] > 0.9
    assert "No picture was given, so that the class alone was learned" in found["result"]
    assert (own / "fit-encoding.yaml").is_file() and (own / "scores" / "gallery.png").is_file()
    scores = json.loads((own / "scores" / "scores.json").read_text("utf-8"))
    assert scores["not_scored"]["images"].endswith("the names of the classes that the decoder "
                                                   "finds most probable")  # fmt: skip


def test_pictures_that_training_never_showed_are_told_by_their_embeddings(tmp_path, lite0):
    """Each of 180 pictures is shown once; the EEG follows their colour."""
    rng = np.random.default_rng(8)
    colours, lines = rng.uniform(0, 1, (180, 3)), []
    for number, colour in enumerate(colours):
        path = tmp_path / "pictures" / ("bright" if colour.mean() > 0.5 else "dark")
        path.mkdir(parents=True, exist_ok=True)
        pixels = tuple(int(255 * part) for part in colour)
        Image.new("RGB", (8, 8), pixels).save(path / f"{number}.png")
        lines.append(f"{number // 60 + 1},{path.name}/{number}.png")
    (tmp_path / "shown.csv").write_text(
        "recording,picture\n" + "\n".join(f"run-{line[0]}.csv,{line[2:]}" for line in lines)
    )
    patterns = (colours - 0.5) @ rng.normal(0, 2, (3, len(CHANNELS)))
    found = run(
        RunConfig(
            recordings=[record(tmp_path / "eeg", patterns=patterns)], output=tmp_path / "own",
            pictures=tmp_path / "pictures", events=tmp_path / "shown.csv",
        )
    )  # fmt: skip
    scores = found["scores"]
    assert list(scores)[:4] == [
        "picture_two_way", "picture_top1", "picture_top5", "category_top1"
    ]  # fmt: skip
    assert scores["picture_two_way"]["value"] > 0.6 > scores["picture_two_way"]["chance"]
    assert "No training trial showed these pictures." in found["result"]
    assert "the tested pictures whose embeddings are the nearest" in found["result"]
    record_of = json.loads((tmp_path / "own/scores/scores.json").read_text("utf-8"))
    assert "of the tested trials" in record_of["protocol"]["picture_two_way"]
    assert not record_of["headline"]["known_pictures"]


def test_what_photographs_need_is_said_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(plan, "lite_installed", lambda: False)
    photos = some_trials(runs=10)
    fit = plan.plan_fit(photos, plan_split(photos), Path("d"), Path("o"))
    assert fit.clip.endswith("scenes-generator/clip")
    scores = minimal(not_scored={"images": "none is drawn: shown are pictures"})
    assert "pip install 'dreamdiffusion[photos]'" in in_words(scores, fit, drawn=False)
    monkeypatch.setattr(plan, "lite_installed", lambda: True)
    fit = plan.plan_fit(photos, plan_split(photos), Path("d"), Path("o"))
    assert fit.clip == "photos"
    assert "pip install" not in in_words(scores, fit, drawn=False)


def test_what_is_missing_is_named(tmp_path, pictures):
    folder = record(tmp_path / "eeg", n_runs=1, n_trials=12)
    own = {"output": tmp_path / "own"}
    with pytest.raises(ValueError, match="run has no recording"):
        run(RunConfig(**own))
    with pytest.raises(ValueError, match=r"were shown in .*run-1\.csv is not known; give --pict"):
        run(RunConfig(recordings=[folder], **own))
    with pytest.raises(ValueError, match=r"12 trials are left .*, expected 40 or more"):
        run(RunConfig(recordings=[folder], pictures=pictures, events=shown(tmp_path), **own))


# --- sizes that fit -----------------------------------------------------------------------------


def some_trials(n=100, runs=1, amplitude=20.0):
    rng = np.random.default_rng(0)
    metadata = pd.DataFrame(
        {
            "subject": "1", "session": "1", "run": [str(1 + i * runs // n) for i in range(n)],
            "onset": np.arange(n, dtype=float), "category": ["a", "b"] * (n // 2),
            "stim_file": [f"{i % 10}.png" for i in range(n)],
        }
    )  # fmt: skip
    data = rng.normal(0, amplitude * 1e-6, (n, 2, 64))
    return Trials(data=data, ch_names=["Cz", "Pz"], sfreq=128.0, tmin=0.0, metadata=metadata)


def test_too_few_trials_of_every_class_are_named():
    """Two of each kind: none could be set aside to validate."""
    trials = some_trials()
    trials.metadata["category"] = [f"kind {i // 2}" for i in range(100)]
    with pytest.raises(ValueError, match=r"show 50 classes, each 2 times at most .* few"):
        check_enough(trials, "run")


def test_runs_are_held_out_or_the_end_of_a_single_one():
    many = some_trials(runs=10)
    assert not add_parts(many)
    split = plan_split(many)
    assert (split.by, split.test, split.allow_shared_stimuli) == ("run", ["9", "10"], True)
    one = some_trials(runs=1)
    assert add_parts(one)
    assert one.metadata["part"].tolist() == np.repeat(list("12345"), 20).tolist()
    assert plan_split(one).test == ["5"]
    one.metadata["stim_file"] = [f"{i}.png" for i in range(100)]
    assert not plan_split(one).allow_shared_stimuli


def test_only_pictures_that_generator_and_judge_know_are_drawn():
    scenes = some_trials(runs=10)
    scenes.simulated = True
    scenes.metadata["category"] = ["house", "cat"] * 50
    assert plan.draws_these(scenes)
    fit = plan.plan_fit(scenes, plan_split(scenes), Path("d"), Path("o"))
    assert (type(fit).__name__, fit.steps) == ("PriorConfig", 40)
    scenes.metadata["category"] = ["house", "aunt"] * 50
    assert not plan.draws_these(scenes)
    photos = some_trials(runs=10)
    assert not plan.draws_these(photos)
    fit = plan.plan_fit(photos, plan_split(photos), Path("d"), Path("o"))
    assert (type(fit).__name__, fit.attributes) == ("ReaderConfig", ["category", "stim_file"])
    assert (fit.scale, fit.electrode_relevance) == ("trial", True)  # two channels


def test_few_electrodes_are_weighed_and_few_trials_are_not_learned_by_heart(monkeypatch):
    monkeypatch.undo()  # the sizes that users get
    trials = some_trials(runs=10)
    trials.metadata["stim_file"] = ""
    fit = plan.plan_fit(trials, plan_split(trials), Path("d"), Path("o"))
    assert (type(fit).__name__, fit.electrode_relevance) == ("EncodingConfig", True)
    trials.metadata["category"] = [f"class {i % 9}" for i in range(100)]  # too many to gain
    assert not plan.plan_fit(trials, plan_split(trials), Path("d"), Path("o")).electrode_relevance
    many = replace(some_trials(runs=10), data=np.zeros((100, 9, 8)), ch_names=list("abcdefghi"))
    many.metadata["stim_file"] = ""
    assert not plan.plan_fit(many, plan_split(many), Path("d"), Path("o")).electrode_relevance
    classes = some_trials(runs=10)
    classes.metadata["pool"] = classes.metadata["category"]
    fit = plan.plan_fit(classes, plan_split(classes), Path("d"), Path("o"))
    assert (fit.ensemble, fit.steps, fit.batch_size, fit.optim.warmup_steps) == (4, 120, 64, 40)
    assert (fit.electrode_relevance, fit.attributes) == (True, ATTRIBUTES)


def test_the_limit_of_amplitude_leaves_out_a_fifth_at_most():
    assert reject_limit(some_trials(amplitude=10.0)) == 100.0
    assert reject_limit(some_trials(amplitude=40.0)) == 250.0
    assert reject_limit(some_trials(amplitude=900.0)) is None


def test_rate_window_and_channels_fit_the_recordings(tmp_path):
    found = {
        "sfreq": 250.0, "ch_names": ["Cz", "Pz", "Oz"], "soa": 0.63,
        "bad_channels": {"Pz": "flat (within 0.5 microvolts)", "Oz": "60 % line noise"},
        "file": "run-1.csv",
    }  # fmt: skip
    stated = StatedConfig(board="CYTON_BOARD")
    config = plan_prepare([tmp_path], [found], tmp_path, stated)
    assert (config.tmax, config.signal.sfreq, config.signal.board) == (0.6, 250.0, "CYTON_BOARD")
    assert config.signal.picks == ["Cz", "Oz"]
    slow = plan_prepare([tmp_path], [{**found, "sfreq": 60.0, "soa": 9.0}], tmp_path, stated)
    assert (slow.signal.h_freq, slow.tmax) == (24.0, 0.75)


def test_channels_that_a_recording_lacks_are_left_out_and_named(tmp_path, caplog):
    def found(file, *names):
        return {"sfreq": 250.0, "soa": 1.0, "bad_channels": {}, "ch_names": list(names)} | {
            "file": file
        }

    def picks(*recordings):
        return plan_prepare([tmp_path], list(recordings), tmp_path, StatedConfig()).signal.picks

    one = found("1.edf", "Cz", "Pz", "Oz")
    assert picks(one, one) is None
    assert picks(one, found("2.edf", "Oz", "Pz", "Cz")) == ["Cz", "Pz", "Oz"]  # in another order
    assert not caplog.records
    assert picks(one, found("2.edf", "Cz", "Oz", "Fz")) == ["Cz", "Oz"]
    (line,) = caplog.messages
    assert line.endswith("recordings: Pz: not in 2.edf; Fz: not in 1.edf")
    with pytest.raises(ValueError, match=r"of 3 channels 1 work .*Pz: not in 2.edf; Oz: not"):
        picks(one, found("2.edf", "Cz"))


def test_right_pictures_are_before_others_by_hand():
    table = pd.DataFrame([[0.5, 0.3, 0.1, 0.1], [0.25] * 4], columns=list("abcd"))
    pairs = _before_others(table, ["b", "z"], None)
    np.testing.assert_allclose(pairs, [[2 / 3, 0.5], [0.0, 0.0]])
    np.testing.assert_allclose(_before_others(table, ["b", "a"], 2)[:, 0], [1.0, 1.0])
    np.testing.assert_allclose(_before_others(table, ["b", "a"], 2)[:, 1], [0.0, 0.0])


class TwoMinds:
    """A decoder whose answer for pictures is another than its answer for classes."""

    def decode(self, trials):
        rng = np.random.default_rng(3)
        tables = {
            "category": pd.DataFrame(rng.random((len(trials), 2)), columns=["a", "b"]),
            "stim_file": pd.DataFrame(rng.random((len(trials), 2)), columns=["0.png", "1.png"]),
        }
        return Answer(probabilities=tables)


@pytest.mark.parametrize("of_class", [1, 2])
def test_of_one_picture_a_class_picture_and_class_are_one_question(monkeypatch, of_class):
    monkeypatch.setattr(known_pictures, "load_decoder", lambda folder: TwoMinds())
    trials = some_trials()
    trials.metadata["stim_file"] = [f"{i % (2 * of_class)}.png" for i in range(100)]
    split = SimpleNamespace(train=np.arange(50))
    named = known_pictures._name(Path("model"), trials, split, trials.select(np.arange(50, 100)))
    assert not named.by_embedding
    rng = np.random.default_rng(0)
    found = known_pictures._scores(named, Exchange.of(named.tested.metadata), rng)
    scores = {score.metric: score for score in found}
    picture, of_the_class = scores["picture_top1"], scores["category_top1"]
    assert (picture.value == of_the_class.value) is (of_class == 1)
    if of_class == 1:
        for name, control in picture.controls.items():
            assert control.value == of_the_class.controls[name].value
        shown = known_pictures._most_probable(named, torch.zeros(2, 3, 4, 4))[:, 0]
        best = named.answer.probabilities["category"].to_numpy().argmax(axis=1)
        assert shown.tolist() == best.tolist()  # the picture that the report shows first
