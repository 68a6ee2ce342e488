"""What the bundled model uses of a SIMULATED recording it has never seen.

    python benchmarks/occlusion.py

writes ``docs/results/occlusion.json`` and ``.png`` (about a minute on two idle cores).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from confidence import ROOT, WEIGHTS, prepared, training_prototypes
from PIL import Image

from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.evaluation.occlusion import nearest_places, occlude
from dreamdiffusion.models.judge.judge import label_indices, load_judge
from dreamdiffusion.report.occlusion_figure import draw_occlusion

RADII = (0.0, 0.04)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    args = parser.parse_args()
    folder = ROOT / "runs" / "confidence"
    folder.mkdir(parents=True, exist_ok=True)
    judge = load_judge(WEIGHTS / "judge")
    trials = prepared(folder, 1, 11, 240)
    prototypes = training_prototypes(judge, "own", folder / "prototypes-own.npy")
    truth = np.array(label_indices(judge.categories, trials.metadata["category"]))
    pipe = EEGToImagePipeline.from_pretrained(WEIGHTS / "eeg-scenes")

    def embed(eeg: np.ndarray) -> torch.Tensor:
        parts = [eeg[i : i + 80] for i in range(0, len(eeg), 80)]
        return torch.cat([pipe.embed(part, trials.ch_names, trials.sfreq) for part in parts])

    def score(eeg: np.ndarray) -> np.ndarray:
        return (nearest_places(embed(eeg), prototypes) == truth).astype(float)

    rng = np.random.default_rng(0)
    eeg = np.asarray(trials.data)
    rows = rng.permutation(len(eeg))
    records, images = {}, []
    for radius in RADII:
        record = occlude(
            score, eeg, trials.ch_names, trials.sfreq, trials.tmin,
            "category of the EEG embedding, top-1", radius=radius,
        )  # fmt: skip
        records[f"radius {radius:g} m"] = record.model_dump(exclude={"evoked", "evoked_times"})
        figure = draw_occlusion(record)
        figure.canvas.draw()
        images.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())))
    whole = Image.new("RGB", (sum(i.width for i in images), images[0].height), "white")
    for place, image in enumerate(images):
        whole.paste(image, (place * images[0].width, 0))
    whole.save(args.output / "occlusion.png", optimize=True)
    content = {
        "simulated": True,
        "noise_level": 0.34,
        "split": "run 11 of person 1, after the ten runs that made the model",
        "chance": 1 / len(judge.categories),
        "shuffled_eeg": float(score(eeg[rows]).mean()),
        "records": records,
    }
    (args.output / "occlusion.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
