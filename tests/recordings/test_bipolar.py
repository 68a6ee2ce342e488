"""Channels that are the difference of two electrodes: names, types, places, and what follows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from recording_files import edf

from dreamdiffusion.models.encoders.virtual_electrodes import RADIUS, VirtualElectrodes
from dreamdiffusion.recordings.channels import standard_name, standard_renames
from dreamdiffusion.recordings.config import SignalConfig
from dreamdiffusion.recordings.electrodes import derivation, electrode_positions
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.report.inspection import describe_recording
from dreamdiffusion.trials.preprocessing import preprocess

CHAIN = ["FP1-F7", "F7-T7", "T7-P7", "P7-O1"]
SIGNAL = SignalConfig(l_freq=None, h_freq=None, sfreq=256)


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("Fp1-F7", ("Fp1", "F7")),
        ("FP1 - f7", ("Fp1", "F7")),
        ("T3-T5", ("T7", "P7")),
        ("T8-P8-1", ("T8", "P8")),
        ("FT9-FT10", ("FT9", "FT10")),
        ("A2-A1", None),  # two ears
        ("C3-A2", None),  # an ear is a common reference
        ("Cz-Cz", None),
        ("Fp1-Ref", None),
        ("X1-X2", None),
        ("Fp1", None),
        ("-", None),
        ("", None),
    ],
)
def test_a_derivation_is_two_electrodes_of_the_scalp(name, pair):
    assert derivation(name) == pair


def test_names_become_those_of_the_electrodes_and_never_merge():
    assert standard_name("EEG FP1-F7") == "Fp1-F7"
    assert standard_name("T3-T5") == "T7-P7"
    names = ["FP1-F7", "T8-P8-0", "T8-P8-1", "A2-A1", "ECG"]
    assert standard_renames(names) == {"FP1-F7": "Fp1-F7"}


def test_three_channels_against_one_electrode_have_a_common_reference():
    names = ["FP1-Cz", "F3-Cz", "EEG O1-Cz", "ECG"]
    assert standard_renames(names) == {"FP1-Cz": "Fp1", "F3-Cz": "F3", "EEG O1-Cz": "O1"}
    assert standard_renames(["EEG Fpz-Cz", "EEG Pz-Cz"]) == {
        "EEG Fpz-Cz": "Fpz-Cz",
        "EEG Pz-Cz": "Pz-Cz",
    }


def chain(folder: Path, extra: tuple[str, ...] = ("EEG A2-A1", "EEG ECG", "Class")) -> Path:
    return edf(folder / "chain.edf", [*CHAIN, *extra])


def test_a_chain_is_eeg_and_lies_midway_between_its_electrodes(tmp_path):
    recording = read_recording(chain(tmp_path))
    types = dict(zip(recording.raw.ch_names, recording.raw.get_channel_types(), strict=True))
    assert types == {
        "Fp1-F7": "eeg", "F7-T7": "eeg", "T7-P7": "eeg", "P7-O1": "eeg",
        "EEG A2-A1": "misc", "EEG ECG": "ecg", "Class": "misc",
    }  # fmt: skip
    ends = electrode_positions(["Fp1", "F7", "T7", "P7", "O1"])
    np.testing.assert_allclose(recording.positions, (ends[:-1] + ends[1:]) / 2, atol=1e-8)
    found = describe_recording(recording)
    assert found["bipolar_channels"] == ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1"]
    assert found["positions"] == "known for all 4 channels"


def test_a_model_for_any_montage_takes_a_chain_by_its_places(tmp_path):
    recording = read_recording(chain(tmp_path))
    eeg = torch.from_numpy(preprocess(recording, SIGNAL).get_data()[None] * 1e5).float()
    electrodes = VirtualElectrodes(8)
    with torch.no_grad():
        here = electrodes.gather(eeg, torch.from_numpy(recording.positions))
        electrodes.places[0] = torch.from_numpy(recording.positions[2]) / RADIUS  # at T7-P7
        electrodes.log_width[0] = -4.0
        there = electrodes.gather(eeg, torch.from_numpy(recording.positions))
    assert here.shape == (1, 8, 2048)
    torch.testing.assert_close(there[0, 0], eeg[0, 2], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("reference", ["average", ["T7-P7"]])
def test_a_new_reference_is_an_error_for_a_chain(tmp_path, reference):
    recording = read_recording(chain(tmp_path))
    signal = SIGNAL.model_copy(update={"reference": reference})
    message = r"Fp1-F7, F7-T7, T7-P7, P7-O1 are bipolar: they have no common reference"
    with pytest.raises(ValueError, match=message):
        preprocess(recording, signal)
    kept = preprocess(recording, SIGNAL)
    np.testing.assert_allclose(kept.get_data(), recording.raw.get_data(picks="eeg"), atol=1e-15)


def test_a_bad_channel_of_a_chain_is_not_interpolated(tmp_path):
    recording = read_recording(chain(tmp_path))
    recording.raw.info["bads"] = ["T7-P7"]
    signal = SIGNAL.model_copy(update={"bad_channels": "interpolate"})
    with pytest.raises(ValueError, match=r"T7-P7: declared bad.* are bipolar, .*signal\.picks"):
        preprocess(recording, signal)


def test_the_occlusion_figure_draws_channels_that_share_a_place():
    from dreamdiffusion.report.occlusion_figure import _lie_apart

    names = ["Fp1-F7", "F7-T7", "T7-P7", "P7-O1"]
    assert _lie_apart(names)
    assert not _lie_apart([*names, "P7-T7"])
    assert not _lie_apart([*names, "odd"])
