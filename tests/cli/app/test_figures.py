"""Figures: what their words say is what is in the data."""

from __future__ import annotations

import base64
import io

import numpy as np
import trial_rows
from PIL import Image

from dreamdiffusion.cli.app.figures import Plot, draw_evoked, draw_traces
from dreamdiffusion.trials.trials import Trials

TEN = ["Fp1", "Fp2", "C3", "C4", "Cz", "Pz", "O1", "Oz", "O2", "T7"]


def trials_of(names: list[str], n_trials: int = 6) -> Trials:
    """Trials at 100 Hz whose mean is 3 uV at Oz after 150 ms, and noise that cancels."""
    data = np.zeros((n_trials, len(names), 40), np.float32)
    data += 1e-6 * np.resize([1, -1], n_trials)[:, None, None]
    if "Oz" in names:
        data[:, names.index("Oz"), 25] += 3e-6
    rows = trial_rows.metadata(["cat"] * n_trials)
    return Trials(data, names, 100.0, -0.1, rows)


def pixels(plot: Plot) -> np.ndarray:
    assert plot.uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(plot.uri.partition(",")[2]))))


def test_the_response_is_named_and_mapped():
    evoked, on_map = draw_evoked(trials_of(TEN))
    assert evoked.alt == (
        "Mean response of 10 channels to 6 pictures; largest at 150 ms, +3.0 µV at Oz."
    )
    assert "at 150 ms, seen from above" in on_map.caption
    image = pixels(on_map)[..., :3].astype(int)
    red = (image[..., 0] - image[..., 2] > 80).nonzero()
    # Oz is at the back, which is below the middle.
    assert red[0].size > 50 and red[0].mean() > image.shape[0] / 2


def test_no_map_is_drawn_of_few_or_unknown_electrodes():
    assert len(draw_evoked(trials_of(TEN[:7]))) == 1
    assert len(draw_evoked(trials_of([f"EEG{i}" for i in range(10)]))) == 1
    assert len(draw_evoked(trials_of(["Oz"]))) == 1


def test_traces_count_the_pictures_that_they_show():
    data = 1e-5 * np.random.default_rng(0).standard_normal((14, 500))
    data[3] = np.nan
    names = ["$x_{$", "<b>", *map(str, range(12))]
    plot = draw_traces(data, names, 100.0, 20.0, np.array([1.0, 20.5, 24.0, 30.0]))
    assert plot.alt == ("Traces of 12 of 14 channels over 5 seconds, in which 2 pictures came on.")
    assert pixels(plot).shape[1] == 770
