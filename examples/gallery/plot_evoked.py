"""
A simulated recording, and what it evokes
=========================================

A SIMULATED person looks at drawn pictures. The recording is read as a file of one's own would be,
cleaned, cut into trials, and averaged.
"""

# %%
# Write a BIDS folder with one run, and read the recording back.
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dreamdiffusion import cut_trials, read_recording, simulate

folder = simulate(
    output=Path(tempfile.mkdtemp()) / "people", montage="easycap32", n_runs=1, trials_per_run=96
)
recording = read_recording(next(folder.rglob("*_eeg.edf")))
print(recording.events[["onset", "category", "stim_file"]].head())

# %%
# Cut trials from 0.1 s before to 0.5 s after onset. The data are volts.
trials = cut_trials(
    [recording], tmin=-0.1, tmax=0.5, baseline=(-0.1, 0.0), signal={"reference": "average"}
)
print(trials.data.shape, trials.rejected)

# %%
# The mean over all trials: an evoked response, strongest over the back of the head.
times = trials.tmin + np.arange(trials.n_times) / trials.sfreq
mean = trials.data.mean(axis=0) * 1e6
chosen = [name for name in ("O1", "Oz", "O2", "P7", "P8", "Fz") if name in trials.ch_names]
figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name in chosen:
    axes.plot(times, mean[trials.ch_names.index(name)], label=name)
axes.axvline(0, color="grey", lw=0.8)
axes.set(xlabel="s from onset", ylabel="microvolts", title="Evoked response (SIMULATED EEG)")
axes.legend(ncols=3, fontsize="small")
