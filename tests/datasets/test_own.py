"""`bids`: recordings of one's own and what was shown, as a data set that `prepare` reads."""

import shlex

import headset_files as files
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from recording_files import (
    CODES,
    ONSETS,
    PLACES,
    SFREQ,
    microvolts,
    write_brainvision,
    write_edf,
    write_muse,
)

from dreamdiffusion.datasets.config import BidsConfig
from dreamdiffusion.datasets.own.bids import bids
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.gaps import stretches
from dreamdiffusion.recordings.read import read_bids
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.preprocessing import bad_spans
from dreamdiffusion.trials.trials import Trials

SIGNAL = SignalConfig(l_freq=None, h_freq=None)


@pytest.fixture
def pictures(tmp_path):
    """Two class folders: cats/tom.png and cats/kit.png, dogs/rex.png."""
    for name, grey in (("cats/tom", 10), ("cats/kit", 90), ("dogs/rex", 200)):
        path = tmp_path / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
    return tmp_path / "pictures"


def table(tmp_path, text, name="shown.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def make(tmp_path, recording, **settings):
    return bids(BidsConfig(recordings=[recording], output=tmp_path / "bids", **settings))


def trials(tmp_path, **settings):
    config = PrepareConfig(
        input=[tmp_path / "bids"], output=tmp_path / "trials", signal=SIGNAL, tmax=0.25, **settings
    )
    return Trials.load(prepare(config))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("picture,code\ncats/tom.png,1\ndogs/rex.png,2\n", "shown.csv"),
        ("picture\ncats/tom.png\ndogs/rex.png\n", "shown.csv"),
        ("onset\tstim_file\tcategory\n2.0\tcats/tom.png\tcats\n5.5\tdogs/rex.png\tdogs\n", "s.tsv"),
        ("Image;Label;Marker\ncats/tom.png;cats;1\ndogs/rex.png;dogs;2\n", "shown.csv"),
    ],
)
def test_a_table_by_code_by_order_or_by_onset(tmp_path, pictures, text, name):
    found = make(
        tmp_path, write_muse(tmp_path), pictures=pictures, events=table(tmp_path, text, name)
    )
    (row,) = found["recordings"].values()
    assert (row["events"], row["events_without_picture"], row["rows_without_event"]) == (2, 0, 0)
    assert found["pictures"] == 2
    cut = trials(tmp_path)
    assert cut.metadata.category.tolist() == ["cats", "dogs"]
    assert cut.metadata.stim_file.tolist() == ["cats/tom.png", "dogs/rex.png"]
    assert [path.read_bytes()[:4] for path in cut.images()] == [b"\x89PNG"] * 2
    np.testing.assert_allclose(cut.metadata.onset, ONSETS)
    np.testing.assert_allclose(cut.data[0], microvolts(0)[:, 512:576] * 1e-6, atol=2e-10)


def test_class_folders_beside_codes(tmp_path, pictures):
    found = make(tmp_path, write_muse(tmp_path), pictures=pictures, codes={"cat": 1, "dogs": 2})
    assert found["only_classes"]  # of cats there are two
    shown = pd.read_csv(next((tmp_path / "bids").rglob("*_events.tsv")), sep="\t")
    assert shown.trial_type.tolist() == ["cats", "dogs"]
    assert shown.stim_file.fillna("n/a").tolist() == ["n/a", "dogs/rex.png"]


@pytest.mark.parametrize(
    "told",
    [
        {"codes": {"cats": 1, "dogs": 2}},
        {"events": "picture,code\ncats/tom.png,1\ndogs/rex.png,2\n"},
    ],
)
def test_the_codes_of_brainvision_are_numbers(tmp_path, pictures, told):
    recording = write_brainvision(tmp_path)  # its markers are Stimulus/S  1 and Stimulus/S  2
    if "events" in told:
        told = {"events": table(tmp_path, told["events"])}
    make(tmp_path, recording, pictures=pictures, **told)
    shown = pd.read_csv(next((tmp_path / "bids").rglob("*_events.tsv")), sep="\t")
    assert shown.trial_type.tolist() == ["cats", "dogs"]


def test_a_code_that_no_event_has_is_named(tmp_path, pictures, caplog):
    make(tmp_path, write_brainvision(tmp_path), pictures=pictures, codes={"cats": 1, "dogs": 7})
    assert [line for line in caplog.messages if line.endswith("no event has the code 7 (dogs)")]


@pytest.mark.parametrize("text", ["cats", "tom", "dogs/rex.png"])
def test_brainvision_s_kind_of_a_marker_is_no_part_of_its_name(tmp_path, pictures, text):
    recording = write_brainvision(tmp_path)
    markers = recording.with_suffix(".vmrk")
    markers.write_text(markers.read_text("utf-8").replace("S  1", text), "utf-8")
    assert f"Stimulus,{text}," in markers.read_text("utf-8")
    (row,) = make(tmp_path, recording, pictures=pictures)["recordings"].values()
    assert (row["events"], row["events_without_picture"]) == (1, 1)  # S  2 names nothing


def test_codes_of_brainvision_are_no_names_of_pictures_by_chance(tmp_path, pictures):
    (pictures / "dogs" / "rex.png").rename(pictures / "dogs" / "2.png")
    with pytest.raises(ValueError, match=r"the events 2 are names of pictures .*, and 1 are none"):
        make(tmp_path, write_brainvision(tmp_path), pictures=pictures)


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        # as mne-bids writes it: the marker's text, and a number of its own
        ("trial_type\tvalue\nStimulus/cats\t2\nStimulus/dogs\t1", ["n/a", "dogs/rex.png"]),
        ("trial_type\tstim_file\ncats\tcats/kit.png\ndogs\tdogs/rex.png", None),
        ("trial_type\tstim_file\nx\tstimuli/cats/kit.png\ny\tstimuli/rex.png", None),
    ],
)
def test_a_table_beside_the_recording_names_class_and_picture(tmp_path, pictures, rows, shown):
    recording = write_edf(tmp_path)
    head, *events = rows.split("\n")
    lines = [f"{onset}\t0\t{row}" for onset, row in zip(ONSETS, events, strict=True)]
    text = "\n".join([f"onset\tduration\t{head}", *lines])
    recording.with_name(f"{recording.stem}_events.tsv").write_text(text, "utf-8")
    make(tmp_path, recording, pictures=pictures)
    table = pd.read_csv(
        next((tmp_path / "bids").rglob("*_events.tsv")), sep="\t", keep_default_na=False
    )
    assert table.trial_type.tolist() == ["cats", "dogs"]
    assert table.stim_file.tolist() == (shown or ["cats/kit.png", "dogs/rex.png"])


def test_the_next_command_can_be_typed_from_a_folder_with_spaces(tmp_path, pictures):
    own = tmp_path / "Mein Ordner (ü)"
    own.mkdir()
    found = make(own, write_muse(tmp_path), pictures=pictures, codes={"cat": 1, "dogs": 2})
    words = shlex.split(found["next"])
    assert words[words.index("--input") + 1] == str(own / "bids")
    assert words[words.index("--stimuli") + 1] == str(own / "bids" / "stimuli")


def test_codes_that_are_stated_come_before_the_texts(tmp_path, pictures):
    recording = write_edf(tmp_path)
    text = "onset\tduration\ttrial_type\tvalue\n2\t0\tdogs\t1\n5.5\t0\tdogs\t2\n"
    recording.with_name(f"{recording.stem}_events.tsv").write_text(text, "utf-8")
    make(tmp_path, recording, pictures=pictures, codes={"cats": 1})
    table = pd.read_csv(next((tmp_path / "bids").rglob("*_events.tsv")), sep="\t")
    assert table.trial_type.tolist() == ["cats", "dogs"]


def test_classes_of_several_pictures_are_known_as_classes(tmp_path, pictures):
    Image.new("RGB", (8, 8)).save(pictures / "dogs" / "max.png")
    found = make(tmp_path, write_muse(tmp_path), pictures=pictures, codes={"cats": 1, "dogs": 2})
    assert found["only_classes"]
    assert "--pair_by category --stimuli" in found["next"]
    cut = trials(tmp_path, pair_by="category", stimuli=tmp_path / "bids" / "stimuli")
    assert cut.metadata.pool.tolist() == ["cats", "dogs"]


def test_markers_that_name_their_picture(tmp_path, pictures):
    """String markers of LSL, as PsychoPy and lab.js send them."""
    path = files.write_xdf(tmp_path)
    content = path.read_bytes().replace(b"class 1", b"tom.png").replace(b"class 2", b"REX.png")
    path.write_bytes(content)
    make(tmp_path, path, pictures=pictures)
    assert trials(tmp_path).metadata.stim_file.tolist() == ["cats/tom.png", "dogs/rex.png"]


def test_the_list_of_markers_that_emotivpro_lays_beside_a_recording(tmp_path, pictures):
    rows = ["latency,duration,type,marker_value,key,timestamp,marker_id"]
    rows += [f"{ONSETS[0]},0.5,cats,9,-1,1.6e9,1", f"{ONSETS[1]},0.5,dogs,9,-1,1.6e9,2"]
    listed = table(tmp_path, "\n".join(rows) + "\n", "a_intervalMarker.csv")
    make(tmp_path, write_edf(tmp_path), pictures=pictures, events=listed)
    (recording,) = read_bids(tmp_path / "bids")
    assert recording.events.category.tolist() == ["cats", "dogs"]
    np.testing.assert_allclose(recording.events.onset, ONSETS)


def test_a_number_is_no_name_of_a_picture_by_chance(tmp_path, pictures):
    """Code 2 of a class, and a picture 2.png: it is the name of that picture only if 1 is one."""
    path = write_muse(tmp_path)
    (pictures / "cats" / "tom.png").rename(pictures / "cats" / "2.png")
    with pytest.raises(
        ValueError, match=r"events 2 are names of pictures \(cats/2\.png\), and 1 are"
    ):
        make(tmp_path, path, pictures=pictures)
    (pictures / "dogs" / "rex.png").rename(pictures / "dogs" / "1.png")
    make(tmp_path, path, pictures=pictures)
    assert trials(tmp_path).metadata.stim_file.tolist() == ["dogs/1.png", "cats/2.png"]
    codes = {"output": tmp_path / "by-code", "codes": {"cats": 1}}
    found = bids(BidsConfig(recordings=[path], pictures=pictures, **codes))
    (row,) = found["recordings"].values()
    assert (row["events"], row["events_without_picture"]) == (1, 1)


def test_events_that_showed_no_picture_are_counted_and_kept(tmp_path, pictures):
    shown = table(tmp_path, "picture,code\ncats/tom.png,1\ndogs/rex.png,9\n")
    found = make(tmp_path, write_muse(tmp_path), pictures=pictures, events=shown)
    (row,) = found["recordings"].values()
    assert (row["events"], row["events_without_picture"], row["rows_without_event"]) == (1, 1, 1)
    kept = pd.read_csv(tmp_path / "bids" / "code" / "events_without_picture.tsv", sep="\t")
    assert kept[["onset", "code", "recording"]].values.tolist() == [[5.5, 2, "a.csv"]]
    assert trials(tmp_path).metadata.category.tolist() == ["cats"]


def test_gaps_bad_stretches_names_and_units_survive(tmp_path, pictures):
    source = files.write_testbench(tmp_path)
    make(tmp_path, source, pictures=pictures, codes={"cats": 1, "dogs": 2})
    (recording,) = read_bids(tmp_path / "bids")
    assert recording.raw.ch_names == PLACES
    assert recording.raw.info["sfreq"] == SFREQ
    np.testing.assert_allclose(recording.raw.get_data(), (microvolts(0) + 4200) * 1e-6, atol=2e-9)
    assert bad_spans(recording.raw) == [(600, 660, "bad_annotation")]
    assert recording.events.category.tolist() == ["cats", "dogs"]


def test_a_gap_survives(tmp_path, pictures):
    source = files.write_openbci(tmp_path, hole=30.0)
    names = ["Fp1", "Fp2", "T7", "Cz", "O2"]
    shown = table(tmp_path, "picture,code\ncats/tom.png,1\ndogs/rex.png,2\n")
    make(tmp_path, source, pictures=pictures, events=shown, file_channels=names)
    (recording,) = read_bids(tmp_path / "bids")
    assert stretches(recording.raw) == [(0, 1024), (1024, 2048)]
    assert recording.raw.ch_names == names
    np.testing.assert_allclose(recording.events.onset, ONSETS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", r"shown\.csv has the columns a, b; expected `picture` or `label`"),
        ("picture,code\ncats/tom.png,1\n,2\n", r"data row 1, column picture is empty; fill it"),
        ("picture,code\ncats/no.png,1\n", r"data row 0: picture .*no\.png does not exist"),
        ("picture,code\n../x.png,1\n", r"picture \.\./x\.png lies outside the picture folder"),
        ("picture,code\ncats/tom.png,1\ndogs/rex.png,1\n", r"row 1: the code '1' stands in an ear"),
        ("picture,code\ncats/tom.png,7\n", r"codes 7, and none of them is .*\('1' 1 times, '2' 1"),
        ("picture\ncats/tom.png\n", r"has 1 rows for a\.csv, which has 2 events .*give as many"),
        ("picture,onset\ncats/tom.png,99\n", r"data row 0: onset 99 s lies outside a\.csv \(0 to"),
        ("picture,onset\ncats/tom.png,x\n", r"data row 0, column onset: 'x' is not a number"),
        ("picture,recording\ncats/tom.png,b\n", r"no row whose column recording names a\.csv"),
        ("picture,code\n", r"has no row"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, pictures, text, message):
    shown = table(tmp_path, text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make(tmp_path, write_muse(tmp_path), pictures=pictures, events=shown)
    assert not (tmp_path / "bids" / "sub-01").exists()


def test_what_else_is_missing_is_named(tmp_path, pictures):
    path = write_muse(tmp_path)
    for settings, message in (
        ({"pictures": pictures}, r"no event is a picture or a class of .*--codes cats 1"),
        ({}, "give --pictures FOLDER, --events TABLE or both"),
        ({"pictures": tmp_path / "none"}, "picture folder .*none does not exist"),
        ({"pictures": pictures, "codes": {"cow": 1}}, "the class 'cow', and .* cats, dogs"),
        ({"events": table(tmp_path, "picture\na.png\n")}, "name its folder with --pictures"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            make(tmp_path, path, **settings)
    with pytest.raises(ValueError, match="bids has no recording"):
        bids(BidsConfig(output=tmp_path / "bids", pictures=pictures))


def test_several_recordings_share_codes_and_not_onsets(tmp_path, pictures):
    folder = tmp_path / "both"
    folder.mkdir()
    write_muse(folder).rename(folder / "b.csv")
    write_edf(folder)
    path = table(tmp_path, "picture,onset\ncats/tom.png,1\n")
    with pytest.raises(ValueError, match=r"is of 2 recordings .* add a column recording"):
        make(tmp_path, folder, pictures=pictures, events=path)
    path = table(
        tmp_path, "picture,recording,onset\ncats/tom.png,a.edf,1\ndogs/rex.png,b,2\n", "two.csv"
    )
    found = make(tmp_path, folder, pictures=pictures, events=path)
    rows = found["recordings"].values()
    assert [row["as"] for row in rows] == [
        "sub-01_ses-1_task-viewing_run-1_eeg.bdf", "sub-01_ses-1_task-viewing_run-2_eeg.bdf"
    ]  # fmt: skip
    assert [row["events"] for row in rows] == [1, 1]
    assert list(CODES) == [1, 2]
