"""A headset that is not there: plays samples, a counter among them, and markers over LSL.

    python tests/support/lsl_player.py NAME --source_id ID --n_chans 4 --sfreq 250 --markers
    python tests/support/lsl_player.py NAME --recording PATH --markers

The last channel counts samples (in microvolts, modulo 10,000), so that a receiver can tell what is
missing. With a recording its channels and events are played instead, over and over.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pylsl

TURN = 10_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--source_id", default="")
    parser.add_argument("--n_chans", type=int, default=4)
    parser.add_argument("--sfreq", type=float, default=250.0)
    parser.add_argument("--markers", action="store_true")
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--unit", default="microvolts")
    options = parser.parse_args()
    pylsl.set_config_content("[log]\nlevel = -3\n")
    sfreq, onsets, words = options.sfreq, np.zeros(0, int), []
    if options.recording is None:
        names = [f"C{i}" for i in range(1, options.n_chans + 1)]
        data = np.random.default_rng(0).normal(0, 20, (TURN, options.n_chans))
        data[:, -1] = np.arange(TURN)
        if options.markers:
            onsets = np.arange(0, TURN, round(sfreq))
            words = [f"m{i}" for i in range(len(onsets))]
    else:
        from dreamdiffusion.recordings.read import read_recording  # slow to import
        from dreamdiffusion.recordings.recording import eeg_names

        recording = read_recording(options.recording)
        sfreq, names = float(recording.raw.info["sfreq"]), eeg_names(recording.raw)
        data = np.ascontiguousarray(recording.raw.get_data(picks=names).T) * 1e6
        onsets = np.round(recording.events["onset"].to_numpy() * sfreq).astype(int)
        words = recording.events["category"].tolist()
    info = pylsl.StreamInfo(
        options.name, "EEG", len(names), sfreq, pylsl.cf_float32, options.source_id
    )
    info.set_channel_labels(names)
    info.set_channel_units(options.unit)
    info.set_channel_types("EEG")
    outlet = pylsl.StreamOutlet(info)
    marks = None
    if options.markers:
        marks = pylsl.StreamOutlet(
            pylsl.StreamInfo(
                f"{options.name}-markers", "Markers", 1, 0, pylsl.cf_string,
                f"{options.source_id}-markers" if options.source_id else "",
            )
        )  # fmt: skip
    began, sent, mark = pylsl.local_clock(), 0, 0
    print("ready", flush=True)
    while True:
        due = int((pylsl.local_clock() - began) * sfreq)
        if due > sent:
            places = np.arange(sent, due) % len(data)
            outlet.push_chunk(data[places].astype(np.float32), began + (due - 1) / sfreq)
            while marks is not None and len(onsets):
                place = onsets[mark % len(onsets)] + mark // len(onsets) * len(data)
                if place >= due:
                    break
                marks.push_sample([words[mark % len(words)]], began + place / sfreq)
                mark += 1
            sent = due
        time.sleep(0.02)


if __name__ == "__main__":
    main()
