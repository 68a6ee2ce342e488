"""Units that a file says wrongly or not at all: stated by its owner, or from channels.tsv."""

import json
from pathlib import Path

import numpy as np
import pytest
from recording_files import FORMATS, PLACES, edf, microvolts, write_bids, write_brainvision

from dreamdiffusion.cli.commands import main
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.units import unit_symbol
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.preprocessing import preprocess
from dreamdiffusion.trials.trials import Trials
from dreamdiffusion.trials.windows.keys import shard_keys
from dreamdiffusion.trials.windows.store import WindowStore

# Each format with numbers a thousand times too large for the unit that it names or defines.
RIGHT = dict.fromkeys(FORMATS, "nV") | dict.fromkeys(
    ("edf", "bdf", "gdf", "brainvision", "bids"), "uV"
)
RAW = SignalConfig(l_freq=None, h_freq=None, sfreq=256)


def volts(recording):
    return recording.raw.get_data(picks=PLACES)


def test_symbols_of_volts():
    assert [unit_symbol(text) for text in ("µV", "μV", " uV", "mV", "V", "nV")] == [
        "uV", "uV", "uV", "mV", "V", "nV"
    ]  # fmt: skip
    assert [unit_symbol(text) for text in (".V", "", "n/a", "C", None)] == [None] * 5


@pytest.mark.parametrize("name", FORMATS)
def test_a_stated_unit_comes_before_what_any_format_says(tmp_path, name):
    path = FORMATS[name].write(tmp_path, factor=1000)
    with pytest.raises(ValueError, match=r"not EEG .*state it \(prepare: --signal\.unit uV; insp"):
        read_recording(path)
    recording = read_recording(path, unit=RIGHT[name])
    np.testing.assert_allclose(volts(recording), microvolts(0) * 1e-6, rtol=1e-6, atol=1e-11)
    assert (recording.unit, recording.unit_from) == (RIGHT[name], "stated")
    assert describe_recording(recording)["unit_from"] == f"stated ({RIGHT[name]})"


@pytest.mark.parametrize("unit", [".V", "", "mV"])
def test_a_unit_that_edf_lacks_or_misspells_is_stated(tmp_path, unit):
    path = edf(tmp_path / "a.edf", [*PLACES, "ECG", "Class"], unit)
    with pytest.raises(ValueError, match="which is not EEG"):
        read_recording(path)
    np.testing.assert_allclose(
        volts(read_recording(path, unit="uV")), microvolts(0) * 1e-6, atol=1e-11
    )


def test_the_right_unit_changes_nothing_and_a_wrong_one_is_refused(tmp_path):
    path = FORMATS["edf"].write(tmp_path)
    plain, stated = read_recording(path), read_recording(path, unit="uV")
    assert plain.sha256 == stated.sha256
    assert (plain.unit, plain.unit_from) == (None, "file")
    with pytest.raises(ValueError, match=r"amplitude is 1\.\d+e\+07 uV, which is not EEG"):
        read_recording(path, unit="V")


def test_a_brainvision_unit_that_is_none_of_voltage_is_named_and_stated(tmp_path):
    path = write_brainvision(tmp_path)
    path.write_text(path.read_text("utf-8").replace("µV", "arb"), "utf-8")
    message = r"unit of EEG Fp1-Ref|unit of Fp1, .*is 'n/a' in the file, which is none of voltage"
    with pytest.raises(ValueError, match=message):
        read_recording(path)
    recording = read_recording(path, unit="uV")
    np.testing.assert_allclose(volts(recording), microvolts(0) * 1e-6, atol=1e-11)
    assert recording.raw.get_channel_types(picks=PLACES) == ["eeg"] * 5


def test_channels_of_the_eye_follow_and_other_units_stay(tmp_path):
    path = edf(tmp_path / "a.edf", ["Fp1", "Fp2", "T7", "Cz", "EOG", "ECG", "Class"], "mV")
    content = bytearray(path.read_bytes())
    at = 256 + 8 * 96 + 5 * 8  # the physical dimension of the sixth of eight channels
    assert content[at : at + 2] == b"mV"
    content[at : at + 2] = b"uV"
    path.write_bytes(content)
    raw = read_recording(path, unit="uV").raw
    np.testing.assert_allclose(raw.get_data(picks=["EOG"])[0], microvolts()[4] * 1e-6, atol=1e-11)
    np.testing.assert_allclose(raw.get_data(picks=["ECG"])[0], microvolts()[5] * 1e-6, atol=1e-11)


def bids(folder: Path, of_file: str, of_table: str) -> Path:
    path = write_bids(folder)
    path.write_bytes(path.read_bytes().replace(b"uV      ", of_file.encode().ljust(8)))
    table = path.with_name(path.name.replace("eeg.edf", "channels.tsv"))
    table.write_text(table.read_text().replace("\tuV", f"\t{of_table}"), "utf-8")
    return path


def test_channels_tsv_is_believed_where_the_header_is_silent(tmp_path):
    recording = read_recording(bids(tmp_path, "", "µV"))
    np.testing.assert_allclose(volts(recording), microvolts(0) * 1e-6, atol=1e-11)
    assert (recording.unit, recording.unit_from) == (None, "channels.tsv")
    assert describe_recording(recording)["unit_from"] == "channels.tsv"


def test_channels_tsv_that_contradicts_the_header_is_an_error_and_the_option_mends_it(tmp_path):
    path = bids(tmp_path, "uV", "mV")
    message = r"Fp1 is in uV by the file's header and in mV by channels\.tsv \(5 such .*"
    with pytest.raises(ValueError, match=message + r"--signal\.unit uV") as raised:
        read_recording(path)
    assert str(raised.value).startswith(f"{path}: ")
    shown = describe_recording(read_recording(path, check_units=False))
    assert shown["problems"][0].startswith("Fp1 is in uV by the file's header and in mV")
    stated = read_recording(path, unit="uV")
    np.testing.assert_allclose(volts(stated), microvolts(0) * 1e-6, atol=1e-11)


@pytest.mark.parametrize("of_table", ["n/a", "arbitrary"])
def test_a_table_without_a_unit_leaves_the_file_its_own(tmp_path, of_table):
    recording = read_recording(bids(tmp_path, "uV", of_table))
    np.testing.assert_allclose(volts(recording), microvolts(0) * 1e-6, atol=1e-11)
    assert recording.unit_from == "file"


def test_what_is_derived_records_the_unit(tmp_path):
    path = FORMATS["edf"].write(tmp_path, factor=1000)
    signal = {"unit": "uV", "l_freq": None, "h_freq": None, "sfreq": 256}
    shared = {"input": [path], "signal": signal, "pair_by": "none", "tmin": 0.0, "tmax": 1.0}
    folder = prepare(PrepareConfig(**shared, output=tmp_path / "trials"))
    trials = Trials.load(folder)
    assert trials.signal["unit"] == "uV"
    assert np.median(np.abs(trials.data)) == pytest.approx(20e-6 * 0.6745, rel=0.1)
    processor = EEGProcessor.fit(trials, np.arange(2), "robust", 5)
    assert processor.config["signal"]["unit"] == "uV"
    windows = {"kind": "windows", "window_s": 1.0, "window_stride_s": 1.0}
    folder = prepare(PrepareConfig(**shared | windows, output=tmp_path / "windows"))
    assert WindowStore.load(folder).info["signal"]["unit"] == "uV"


def test_a_stated_unit_gives_other_windows(tmp_path):
    path = FORMATS["edf"].write(tmp_path)
    keys = [shard_keys([path], PrepareConfig(signal={"unit": unit}), 1)[0] for unit in (None, "uV")]
    assert keys[0] != keys[1]


def test_a_recording_that_was_read_without_the_stated_unit_is_refused(tmp_path):
    recording = read_recording(FORMATS["edf"].write(tmp_path))
    with pytest.raises(ValueError, match=r"was read with the unit of the file, and signal\.unit"):
        preprocess(recording, RAW.model_copy(update={"unit": "uV"}))


def test_inspect_takes_the_unit(tmp_path, capsys):
    path = FORMATS["edf"].write(tmp_path, factor=1000)
    arguments = ["inspect", str(path), "--picture", str(tmp_path / "p.png"), "--json"]
    assert main(arguments) == 0
    assert "--unit uV" in json.loads(capsys.readouterr().out)["problems"][0]
    assert main([*arguments, "--unit", "uV"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert (found["unit_from"], found["file_units"]) == ("stated (uV)", ["mV"])
    assert found["amplitude_uv"]["median"] == pytest.approx(20, rel=0.05)
