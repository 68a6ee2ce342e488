"""Trials that another program cut, as files of MNE-Python and of EEGLAB.

Eight trials of a second from -0.25 s, of the samples of `recording_files`; two kinds of picture.
"""

from __future__ import annotations

import mne
import numpy as np
import pandas as pd
from recording_files import EEG, SFREQ, microvolts, structs
from scipy.io import savemat

N_TRIALS, N_TIMES, TMIN = 8, 256, -0.25
RECORDED = np.arange(N_TRIALS) * 1.5 + 2.0  # s, of the events in the recording
PICTURES = [f"{'cup' if n % 2 else 'fish'}/{n}.png" for n in range(N_TRIALS)]


def samples():
    """(n_trials, n_chans, n_times), microvolts."""
    return microvolts(0).reshape(len(EEG), N_TRIALS, N_TIMES).swapaxes(0, 1)


def write_epochs_fif(folder, metadata=True, **more):
    events = np.c_[np.round(RECORDED * SFREQ), np.zeros(N_TRIALS), np.arange(N_TRIALS) % 2 + 1]
    info = mne.create_info(list(EEG), SFREQ, "eeg")
    with info._unlock():
        info.update(highpass=0.1, lowpass=30.0)
    table = {"stim_file": PICTURES, "answer": np.arange(N_TRIALS) / 10} | more
    epochs = mne.EpochsArray(
        samples() * 1e-6, info, events.astype(int), TMIN, {"fish": 1, "cup": 2},
        metadata=pd.DataFrame(table) if metadata else None, verbose="error",
    )  # fmt: skip
    path = folder / "sub-03_run-2-epo.fif"
    epochs.save(path, verbose="error")
    return path


def write_epochs_eeglab(folder, data=None):
    """Each epoch holds its picture at 0 s and an answer later; MNE-Python joins the names."""
    kinds = ["cup" if n % 2 else "fish" for n in range(N_TRIALS)]
    epochs = [
        {
            "event": [2 * n + 1, 2 * n + 2],
            "eventtype": np.array([kind, "answer"], object),
            "eventlatency": np.array([0.0, 300.0], object),
            "eventurevent": np.array([2 * n + 1.0, 2 * n + 2.0], object),
        }
        for n, kind in enumerate(kinds)
    ]
    zero = -round(TMIN * SFREQ)
    events, before = [], []
    for n, kind in enumerate(kinds):
        for name, shift in ((kind, 0), ("answer", 77)):
            latency = float(n * N_TIMES + zero + shift + 1)
            events.append({"type": name, "latency": latency, "epoch": n + 1})
            before.append({"type": name, "latency": RECORDED[n] * SFREQ + shift + 1})
    content = {
        "setname": "a", "nbchan": len(EEG), "trials": N_TRIALS, "pnts": N_TIMES, "srate": SFREQ,
        "xmin": TMIN, "xmax": TMIN + (N_TIMES - 1) / SFREQ, "ref": "common",
        "data": samples().transpose(1, 2, 0) if data is None else data,
        "chanlocs": structs([{"labels": name, "type": "EEG"} for name in EEG]),
        "event": structs(events), "urevent": structs(before), "epoch": structs(epochs),
        "icawinv": [], "icasphere": [], "icaweights": [],
    }  # fmt: skip
    savemat(folder / "a.set", {"EEG": content}, appendmat=False)
    return folder / "a.set"
