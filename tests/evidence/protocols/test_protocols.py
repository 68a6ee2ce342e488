"""Protocols: the shipped files, their hashes, the command, and what does not follow one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from dreamdiffusion.cli import commands as cli
from dreamdiffusion.cli import options
from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.registry import DATASETS, get_dataset
from dreamdiffusion.evidence.protocols.command import prepare_commands, protocols_page
from dreamdiffusion.evidence.protocols.follow import Planned, departures, follow
from dreamdiffusion.evidence.protocols.schema import FOLDER, Protocol, load_protocol, protocol_names
from dreamdiffusion.trials.averages import average_repeats
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.splits import Split, split_by
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[3]
SMALL = {
    "name": "small",
    "title": "two runs of two people",
    "source": {"paper": "none", "url": "https://example.org"},
    "data": {"datasets": ["muse-n170"]},
    "subjects": ["1"],
    "trained": "within",
    "channels": ["TP9", "TP10"],
    "window": {"tmin": 0.0, "tmax": 0.5, "sfreq": 8, "filter": [1, None]},
    "split": {"by": "run", "test": ["3"], "validation": ["2"], "disjoint": ["stim_file"]},
    "repeats": {"test": 1},
    "images_per_trial": 4,
    "gallery": {"kind": "exact", "size": 2},
    "selection": "last_step",
    "judges": [{"kind": "classifier", "model": "org/judge", "scores": "category_top1"}],
    "metrics": [{"name": "category_top1", "n_way": 2, "top_k": 1, "of": "generated image"}],
}
PLANNED = Planned(
    "test", images_per_trial=4, gallery="exact", gallery_size=2, judge="org/judge"
)  # fmt: skip


def protocol(**changes) -> Protocol:
    """SMALL with other values; a mapping changes inside."""
    content = json.loads(json.dumps(SMALL))
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    return Protocol.model_validate(content)


def make_trials(**changes) -> Trials:
    """Three runs of two trials, 4 samples at 8 Hz from onset; pictures 0 to 5."""
    table = pd.DataFrame(
        {
            "subject": "1",
            "session": "1",
            "run": ["1", "1", "2", "2", "3", "3"],
            "onset": np.arange(6.0),
            "category": ["face", "house"] * 3,
            "stim_file": [f"{i}.png" for i in range(6)],
        }
    )
    trials = Trials(
        np.zeros((6, 2, 4), np.float32), ["TP9", "TP10"], 8.0, 0.0, table,
        signal={"l_freq": 1.0, "h_freq": None}, source={"dataset": "muse-n170", "prepare": {}},
    )  # fmt: skip
    return replace(trials, **changes)


SPLIT = Split(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), "by hand")


def departures_of(
    wanted=None, trials=None, split: Split | None = SPLIT, planned=PLANNED, scored=None
):
    trials = trials or make_trials()
    scored = trials.metadata.iloc[[4, 5]] if scored is None else scored
    return departures(wanted or protocol(), trials, split, planned, scored)


# --- the shipped files --------------------------------------------------------------------------


def test_what_ships():
    assert protocol_names() == [
        "imagenet-eeg-paper", "muse-gratings", "muse-n170", "neurips2026-eeg-to-image",
        "simulated-viewer", "things-eeg2-atm", "things-eeg2-atm-single", "things-eeg2-nice",
        "things-eeg2-nice-single", "things-eeg2-ubp", "things-eeg2-ubp-single",
    ]  # fmt: skip


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_is_of_data_that_there_are(name):
    shipped = load_protocol(name)
    assert shipped.name == name
    assert shipped.source.url.startswith("https://")
    assert shipped.warnings, "no protocol shows everything"
    for dataset in shipped.data.datasets:
        assert dataset in DATASETS
        known = get_dataset(dataset)
        assert set(shipped.subjects) <= set(known.subjects)
        if shipped.n_chans is not None:
            assert shipped.n_chans == known.n_chans


@pytest.mark.parametrize("name", protocol_names())
def test_the_commands_of_a_protocol_prepare_its_trials(name):
    shipped = load_protocol(name)
    *before, last = prepare_commands(shipped)
    if shipped.data.simulate is not None:
        simulated = options.parse(SimulateConfig, before[0][2:], prog="x")[0]
        assert simulated.model_copy(
            update={"output": shipped.data.simulate.output}
        ) == shipped.data.simulate  # fmt: skip
    config = options.parse(PrepareConfig, last[2:], prog="x")[0]
    assert isinstance(config, PrepareConfig)
    if config.dataset is not None:
        config = get_dataset(config.dataset).resolve(config, Path("x"))
    window = shipped.window
    assert (config.tmin, config.tmax) == (window.tmin, window.tmax)
    assert window.sfreq in (None, config.signal.sfreq)
    assert window.filter in (None, (config.signal.l_freq, config.signal.h_freq))
    assert config.signal.picks == shipped.channels or shipped.channels is None


def test_single_trials_and_averages_are_two_protocols():
    for name in ("nice", "atm", "ubp"):
        averaged, single = (load_protocol(f"things-eeg2-{name}{end}") for end in ("", "-single"))
        assert (averaged.repeats.test, single.repeats.test) == (80, 1)
        differ = {
            key for key, value in averaged.content().items() if single.content()[key] != value
        }
        assert differ == {"name", "title", "repeats", "warnings", "notes"}
        assert averaged.sha256 != single.sha256
    nice, atm = load_protocol("things-eeg2-nice"), load_protocol("things-eeg2-atm")
    assert (nice.gallery.kind, atm.gallery.kind) == ("prototypes", "exact")
    assert len(load_protocol("things-eeg2-ubp").channels or []) == 17


def test_the_paper_and_the_challenge_say_what_is_known_of_them():
    paper = load_protocol("imagenet-eeg-paper")
    assert paper.subjects == ["4"]
    assert "block design" in paper.warnings[0]
    assert (paper.metrics[0].n_way, paper.metrics[0].top_k, paper.images_per_trial) == (50, 1, 5)
    assert round((paper.window.tmax - paper.window.tmin) * (paper.window.sfreq or 0)) == 440
    challenge = load_protocol("neurips2026-eeg-to-image")
    assert challenge.judges[0].model == "facebook/dinov2-giant"
    assert challenge.metrics[0].top_k == 5
    assert challenge.split.disjoint == ["stim_file"]
    assert challenge.unverified


# --- the hash -----------------------------------------------------------------------------------


def test_the_hash_is_of_the_content(tmp_path):
    text = (FOLDER / "simulated-viewer.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    before = load_protocol("simulated-viewer").sha256
    assert before == "5b9c4237f3f0326d6488dd93d24999f225a9fd2422dbcf7984da2c446bedc54d"
    more = SimulateConfig(noise_level=0.34, n_sessions=2)
    whole = load_protocol("simulated-viewer")
    data = whole.data.model_copy(update={"simulate": more})
    assert whole.model_copy(update={"data": data}).sha256 != before  # used, a setting counts
    variants = {
        "comments": f"# another comment\n{text}\n# and one more\n",
        "order of keys": yaml.safe_dump(dict(reversed(content.items())), sort_keys=False),
        "way of writing": json.dumps(content),
        "defaults said": yaml.safe_dump(load_protocol("simulated-viewer").content()),
    }
    variants["folder of the simulation"] = text.replace(
        "montage: easycap64", "montage: easycap64\n    output: elsewhere"
    )
    for what, variant in variants.items():
        (tmp_path / "p.yaml").write_text(variant, "utf-8")
        assert load_protocol(tmp_path / "p.yaml").sha256 == before, what
    for old, new in (
        ('test: ["10"]', 'test: ["09"]'),
        ("tmax: 0.5", "tmax: 0.4"),
        ("1, 40", "1, 41"),
        ("SIMULATED at a third", "At a third"),
        ("noise_level: 0.34", "noise_level: 1"),
    ):
        assert old in text
        (tmp_path / "p.yaml").write_text(text.replace(old, new, 1), "utf-8")
        assert load_protocol(tmp_path / "p.yaml").sha256 != before, new


# --- what is no protocol ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxels": 1}, "voxels: Extra inputs"),
        ({"repeats": {"test": 0}}, r"repeats\.test: Input should be greater than or equal to 1"),
        ({"repeats": {"test": 81}}, r"repeats\.test"),
        ({"metrics": []}, "metrics"),
        ({"data": {"simulate": {"noise_level": 1}}}, "either datasets or simulate"),
        ({"data": {"datasets": [], "simulate": {}}}, "simulate has no noise_level"),
        ({"split": {"leave_one_out": True}}, "either test names the values held out or leave_one"),
        ({"split": {"by": None}}, "test without by; name the column"),
    ],
)
def test_a_file_that_is_no_protocol_is_refused(tmp_path, changes, message):
    content = json.loads(json.dumps(SMALL))
    for key, value in changes.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ValueError, match=rf"p\.yaml is not a protocol: .*{message}"):
        load_protocol(tmp_path / "p.yaml")


def test_unknown_names(tmp_path):
    with pytest.raises(
        ValueError, match=r"did you mean things-eeg2-nice.* there are imagenet-eeg-p"
    ):
        load_protocol("things-eeg2-nic")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
        load_protocol(tmp_path / "none.yaml")


# --- following one ------------------------------------------------------------------------------


def test_an_evaluation_that_follows():
    trials = make_trials()
    followed = follow(protocol(), trials, SPLIT, PLANNED, trials.metadata.iloc[[4, 5]])
    assert (followed.name, followed.departures) == ("small", [])
    assert followed.sha256 == protocol().sha256
    made = split_by(trials.metadata, "run", ["3"], ["2"], 0)
    assert departures_of(split=made) == []


def with_metadata(**columns) -> Trials:
    trials = make_trials()
    return replace(trials, metadata=trials.metadata.assign(**columns))


HARD = {
    "data set": (
        {"trials": make_trials(source={"dataset": "muse-gratings"})},
        "data set: muse-gratings, the protocol says muse-n170",
        "prepare with --dataset muse-n170",
    ),
    "simulated": (
        {"trials": make_trials(simulated=True)},
        "data: SIMULATED trials, the protocol says muse-n170",
        "prepare with --dataset muse-n170",
    ),
    "not simulated": (
        {"wanted": protocol(data={"datasets": [], "simulate": {"noise_level": 0.34}})},
        "data: recorded trials, the protocol says simulated ones",
        "simulate",
    ),
    "noise": (
        {
            "wanted": protocol(data={"datasets": [], "simulate": {"noise_level": 0.34}}),
            "trials": replace(with_metadata(noise_level=0.1), simulated=True),
        },
        "noise level: 0.1, the protocol says 0.34",
        "simulate with --noise_level 0.34",
    ),
    "person": (
        {"trials": with_metadata(subject="2")},
        "people: 2, the protocol says 1",
        "prepare with --subjects 1",
    ),
    "channels": (
        {"trials": make_trials(ch_names=["TP9", "AF7"])},
        "channels: TP9, AF7, the protocol says TP9, TP10",
        "prepare with --signal.picks TP9 TP10",
    ),
    "number of channels": (
        {"wanted": protocol(channels=None, n_chans=63)},
        "channels: 2 channels, the protocol says 63 channels",
        "prepare without --signal.picks",
    ),
    "window": (
        {"trials": make_trials(tmin=-0.25)},
        "window: -0.25 to 0.25 s, the protocol says 0 to 0.5 s",
        "prepare with --tmin 0 --tmax 0.5",
    ),
    "longer": (
        {"wanted": protocol(window={"tmax": 1.0})},
        "window: 0 to 0.5 s, the protocol says 0 to 1 s",
        "prepare with --tmin 0 --tmax 1",
    ),
    "test side": (
        {"split": Split(np.array([4, 5]), np.array([2, 3]), np.array([0, 1]), "")},
        "split: test run 1, the protocol says test run 3",
        "fine-tune with --split.by run --split.test 3",
    ),
    "part of the test side": (
        {"split": Split(np.array([0, 1]), np.array([2, 3]), np.array([4]), "")},
        "split: test run 3 without 1 of its trials, the protocol says test run 3",
        "fine-tune with --split.by run --split.test 3",
    ),
    "validation": (
        {"split": Split(np.array([1, 2]), np.array([0, 3]), np.array([4, 5]), "")},
        "split: validation run 1, 2, the protocol says validation run 2, all of it",
        "fine-tune with --split.validation 2",
    ),
    "picture in training": (
        {"trials": with_metadata(stim_file=["0", "1", "2", "3", "4", "0"])},
        "test stim_file: 1 also in training or validation, such as 0, the protocol says none of th",
        "fine-tune with a split by stim_file",
    ),
    "picture unknown": (
        {"trials": with_metadata(stim_file="")},
        "test stim_file: not known of some trials, the protocol says not in training",
        "fine-tune with a split by stim_file",
    ),
    "left out": (
        {
            "wanted": protocol(
                split={"test": [], "leave_one_out": True, "validation": 0.5, "left_out": ["1"]}
            )
        },
        "data: trials of run 1, the protocol says none of them",
        "remove its recordings and prepare again",
    ),
    "two folds at once": (
        {
            "wanted": protocol(split={"test": [], "leave_one_out": True, "validation": 0.5}),
            "split": Split(np.array([0]), np.array([1]), np.array([2, 3, 4, 5]), ""),
        },
        "split: test run 2, 3, the protocol says one run held out, all of it",
        "fine-tune with --split.by run --split.test and one value",
    ),
    "averages": (
        {"scored": make_trials().metadata.iloc[[4, 5]].assign(n_averaged=2)},
        "repeats: 2 averaged, the protocol says 1 averaged",
        "score single trials",
    ),
    "single trials": (
        {"wanted": protocol(repeats={"test": 80})},
        "repeats: 1 averaged, the protocol says 80 averaged",
        "average 80 repeats before decoding",
    ),
    "side": (
        {"planned": replace(PLANNED, side="validation")},
        "side: validation, the protocol says test",
        "evaluate with --split test",
    ),
    "new": (
        {"planned": replace(PLANNED, side="new"), "split": None},
        "side: new, the protocol says test",
        "evaluate with --split test",
    ),
    "no such column": (
        {"wanted": protocol(split={"by": "partition"})},
        "split: the metadata have no column partition",
        "prepare again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HARD)
def test_hard_differences_end_it(case):
    given, text, fix = HARD[case]
    (found,) = departures_of(**given)
    assert found.hard
    assert str(found).startswith(text)
    assert found.fix.startswith(fix)
    trials = given.get("trials") or make_trials()
    scored = given.get("scored", trials.metadata.iloc[[4, 5]])
    arguments = (given.get("split", SPLIT), given.get("planned", PLANNED), scored)
    with pytest.raises(ValueError, match="does not follow the protocol small: ") as caught:
        follow(given.get("wanted") or protocol(), trials, *arguments)
    assert f"{found} ({found.fix})" in str(caught.value)


SOFT = {
    "old folder": (
        {"trials": make_trials(source={})},
        "data set: not recorded, the protocol says muse-n170",
    ),
    "own files": (
        {"trials": make_trials(source={"dataset": None})},
        "data set: files that name none, the protocol says muse-n170",
    ),
    "fewer people": (
        {"wanted": protocol(subjects=["1", "2"])},
        "people: 1 alone, the protocol says all of 1, 2",
    ),
    "rate": (
        {"wanted": protocol(window={"sfreq": 250})},
        "sampling rate: 8 Hz, the protocol says 250 Hz",
    ),
    "filter": (
        {"trials": make_trials(signal={"l_freq": 0.5, "h_freq": 40.0})},
        "filter: high-pass 0.5 Hz, low-pass 40 Hz, the protocol says high-pass 1 Hz, low-pass none",
    ),
    "unknown filter": (
        {"trials": make_trials(signal={})},
        "filter: not recorded, the protocol says high-pass 1 Hz, low-pass none",
    ),
    "limit": (
        {"planned": replace(PLANNED, limit=1)},
        "trials: the first 1 of 2 trials, the protocol says all of them",
    ),
    "images": (
        {"planned": replace(PLANNED, images_per_trial=1)},
        "images per trial: 1, the protocol says 4",
    ),
    "gallery": (
        {"planned": replace(PLANNED, gallery="prototypes")},
        "gallery: prototypes of 2, the protocol says exact of 2",
    ),
    "size of the gallery": (
        {"planned": replace(PLANNED, gallery_size=50)},
        "gallery: exact of 50, the protocol says exact of 2",
    ),
    "judge": (
        {"planned": replace(PLANNED, judge="weights/judge")},
        "judge: weights/judge, the protocol says org/judge",
    ),
    "step": (
        {"wanted": protocol(selection="best_on_validation")},
        "step of the training: last step, the protocol says best on validation",
    ),
    "drawn validation": (
        {"wanted": protocol(split={"validation": 0.1})},
        "validation: 50.0%, the protocol says 10.0% of the trials that are not tested",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SOFT)
def test_soft_differences_are_recorded(case):
    given, text = SOFT[case]
    trials = given.get("trials") or make_trials()
    followed = follow(
        given.get("wanted") or protocol(), trials, SPLIT, given.get("planned", PLANNED),
        trials.metadata.iloc[[4, 5]],
    )  # fmt: skip
    assert followed.departures == [text]


def test_all_hard_differences_are_told_at_once():
    trials = make_trials(tmin=1.0, source={"dataset": "bids"}, ch_names=["A", "B"])
    with pytest.raises(
        ValueError, match=r"data set: bids.*; channels: A, B.*; window: 1 to 1\.5 s"
    ):
        follow(protocol(), trials, SPLIT, PLANNED, trials.metadata.iloc[[4, 5]])


def test_what_a_protocol_leaves_open_is_no_departure():
    free = protocol(
        channels=None, subjects=[], images_per_trial=None,
        window={"sfreq": None, "filter": None},
        split={"by": None, "test": [], "validation": 0.5, "disjoint": []},
        gallery={"kind": "exact", "size": None},
    )  # fmt: skip
    other = Split(np.array([0, 5]), np.array([1, 2]), np.array([3, 4]), "")
    assert departures_of(free, split=other, planned=replace(PLANNED, gallery_size=7)) == []
    # The order of channels is no difference, and a judge of one's own cannot be compared.
    assert departures_of(trials=make_trials(ch_names=["TP10", "TP9"])) == []
    own = protocol(judges=[{"kind": "classifier", "model": "own", "scores": "x"}])
    assert departures_of(own, planned=replace(PLANNED, judge="weights/judge")) == []


def test_one_model_for_several_people():
    table = make_trials().metadata
    trials = replace(make_trials(), metadata=table.assign(subject=["1", "2"] * 3))
    wanted = protocol(subjects=["1", "2"])
    (found,) = departures_of(wanted, trials)
    assert str(found) == (
        "training: one model for 2 people, the protocol says one model for each person"
    )
    assert departures_of(protocol(subjects=["1", "2"], trained="across"), trials) == []


def test_averages_follow_a_protocol_of_averages(rng):
    trials = with_metadata(stim_file=["0", "0", "1", "1", "2", "2"])
    test = trials.select(SPLIT.test)
    _, scored = average_repeats(test.data, test.metadata, 2, rng)
    assert departures_of(protocol(repeats={"test": 2}), trials, scored=scored) == []


def test_the_prepared_simulated_viewer_follows_its_protocol():
    # As prepare-scenes.yaml and finetune-scenes.yaml make it.
    runs = [f"{i:02d}" for i in range(1, 11)]
    table = pd.DataFrame(
        {
            "subject": "01", "session": "01", "run": np.repeat(runs, 2), "onset": np.arange(20.0),
            "category": "cat", "stim_file": [f"{i}.png" for i in range(20)], "noise_level": 0.34,
        }
    )  # fmt: skip
    trials = Trials(
        np.zeros((20, 64, 128), np.float32), [f"E{i}" for i in range(64)], 256.0, 0.0, table,
        simulated=True, signal={"l_freq": 1.0, "h_freq": 40.0}, source={"dataset": None},
    )  # fmt: skip
    split = split_by(table, "run", ["10"], ["09"], 0)
    planned = Planned("test", images_per_trial=4, gallery="exact", gallery_size=240)
    followed = follow(
        load_protocol("simulated-viewer"), trials, split, planned, table.iloc[split.test]
    )  # fmt: skip
    assert followed.departures == []


def test_the_gratings_are_refused_with_the_recording_that_copies_another(shared_data, tmp_path):
    copying, other, third = (
        f"data_2017-08-09-{time}" for time in ("21.26.55", "21.29.07", "21.31.29")
    )
    recordings = tmp_path / "data" / "subject0" / "session1"
    recordings.mkdir(parents=True)
    for name in (copying, other, third):
        real = shared_data / "muse_gratings" / "subject0" / "session1" / f"{name}.csv"
        (recordings / f"{name}.csv").symlink_to(real.resolve())

    def followed():
        command = prepare_commands(load_protocol("muse-gratings"))[0][2:]
        config = options.parse(PrepareConfig, command, prog="x")[0]
        folders = {"input": [tmp_path / "data"], "output": tmp_path / "trials"}
        trials = Trials.load(prepare(config.model_copy(update=folders)))
        split = split_by(trials.metadata, "run", [third], 0.1, 0, allow_shared_stimuli=True)
        planned = Planned("test", images_per_trial=4, gallery="exact", gallery_size=8)
        scored = trials.metadata.iloc[split.test]
        return follow(load_protocol("muse-gratings"), trials, split, planned, scored)

    with pytest.raises(ValueError, match=f"trials of run {copying}, the protocol says none of the"):
        followed()
    (recordings / f"{copying}.csv").unlink()
    assert followed().departures == []


# --- the command --------------------------------------------------------------------------------


def test_list_and_show(capsys, tmp_path):
    assert cli.main(["protocols"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["name", "data", "repeats", "gallery"]
    assert [line.split()[0] for line in lines[1:]] == protocol_names()
    assert cli.main(["protocols", "show", "things-eeg2-nice", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sha256"] == load_protocol("things-eeg2-nice").sha256
    assert shown["metrics"][1] == "retrieval (200-way top-5) of the EEG embedding"
    assert shown["window"]["sfreq"] == 250.0
    assert "--dataset things-eeg2 --input data/things-eeg2 --subjects 01" in shown["prepare"][0]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(SMALL), "utf-8")
    assert cli.main(["protocols", "show", str(tmp_path / "own.yaml")]) == 0
    assert protocol().sha256 in capsys.readouterr().out
    assert cli.main(["protocols", "show", "muse-n17"]) == 2
    assert "did you mean muse-n170?" in capsys.readouterr().err
    assert cli.main(["protocols", "show"]) == 2
    assert "protocols show needs a name" in capsys.readouterr().err


def test_the_page_is_current():
    written = (ROOT / "docs" / "protocols.md").read_text("utf-8")
    assert written == protocols_page(), "docs/protocols.md is not current; run make docs"
