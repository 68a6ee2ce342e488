"""
From trials to images
=====================

The bundled model decodes a run that it has never seen, of the SIMULATED person it was trained on.
"""

# %%
# The run after the ones that made the model, with the noise level it was trained for.
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from dreamdiffusion import EEGToImagePipeline, cut_trials, read_recording, simulate
from dreamdiffusion.files.shipped import find_weights

model = find_weights(Path("weights/eeg-scenes"))
made_by = json.loads((model / "recording.json").read_text("utf-8"))
folder = simulate(
    output=Path(tempfile.mkdtemp()) / "people",
    noise_level=made_by["noise_level"],
    first_run=made_by["n_runs"] + 1,
    n_runs=1,
    trials_per_run=24,
)

# %%
# The pipeline knows the channels, the filters and the window that it was trained with.
pipe = EEGToImagePipeline.from_pretrained(model)
pipe.set_progress_bar_config(disable=True)
expected = pipe.eeg_processor.config
trials = cut_trials(
    [read_recording(next(folder.rglob("*_eeg.edf")))],
    signal=expected.signal,
    tmin=expected.tmin,
    tmax=expected.tmin + expected.n_times / expected.sfreq,
)

# %%
# Three images of each of the first four trials.
images = pipe(
    np.asarray(trials.data[:4]),
    trials.ch_names,
    trials.sfreq,
    num_images_per_prompt=3,
    num_inference_steps=10,
    generator=torch.Generator().manual_seed(0),
).images

# %%
# In each row the first picture was shown; the others were decoded from SIMULATED EEG.
figure, axes = plt.subplots(4, 4, figsize=(6, 6), layout="constrained")
for row, path in enumerate(trials.images()[:4]):
    axes[row, 0].imshow(Image.open(path))
    axes[row, 0].set_title(f"shown: {trials.metadata['category'][row]}", fontsize="small")
    for column in range(3):
        axes[row, column + 1].imshow(images[3 * row + column])
for axis in axes.flat:
    axis.axis("off")
