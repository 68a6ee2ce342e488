"""What the reader and the prior read from SIMULATED EEG, on a run that nothing was chosen on.

    dreamdiffusion simulate --output runs/scenes-person --n_runs 10
    dreamdiffusion prepare --config prepare-scenes
    python benchmarks/reader.py

Runs 1-8 train (1,920 trials), run 9 scales the prior, run 10 is the test (240 trials). Writes
``docs/results/reader.json``. On one core of an idle machine the reader takes about two minutes, the
bank of 24,000 pictures as long; ``--strengths 0.7 1`` also draws, about a minute for each.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.baselines import load_baselines
from dreamdiffusion.decoders.fit import decode, fit
from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.models.generator.generator import Embed, load_embedder
from dreamdiffusion.models.judge.judge import load_judge
from dreamdiffusion.trials.trials import Trials

ROOT = Path(__file__).parents[1]


def read_table(answer: Answer, test: Trials, seen: torch.Tensor) -> dict[str, float]:
    """Return shares of right values of each attribute, and of trials whose picture is nearest."""
    table = {}
    for name, chances in (answer.probabilities or {}).items():
        named = chances.columns.to_numpy()[chances.to_numpy().argmax(axis=1)]
        table[name] = float(np.mean(named == test.metadata[name].astype(str).to_numpy()))
    assert answer.embeddings is not None
    return table | {"retrieval": retrieval(answer.embeddings, seen)}


def retrieval(embeddings: torch.Tensor, seen: torch.Tensor) -> float:
    """Return the share of trials whose own picture is the nearest among those of all trials."""
    nearest = (embeddings @ seen.T).argmax(dim=1)
    return float((nearest == torch.arange(len(seen))).float().mean())


def image_table(
    images: torch.Tensor, test: Trials, shown: torch.Tensor, embed: Embed
) -> dict[str, float]:
    """Score one image of each trial ``(n, 3, height, width)``, as the judge names it."""
    judge = load_judge(ROOT / "weights" / "judge")
    named = judge.predict(images)
    names = {"category": judge.categories, "color": judge.colors}
    right = {
        key: np.array(words)[named[key].argmax(dim=1).numpy()] == test.metadata[key].to_numpy()
        for key, words in names.items()
    }
    pairs = zip(images.flatten(1).numpy(), shown.flatten(1).numpy(), strict=True)
    return {
        **{key: float(values.mean()) for key, values in right.items()},
        "both": float((right["category"] & right["color"]).mean()),
        "retrieval": retrieval(embed(images), embed(shown)),
        "pcc": float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--output", type=Path, default=Path("runs/prior"))
    parser.add_argument("--ensemble", type=int, default=1)
    parser.add_argument("--strengths", type=float, nargs="*", default=[])
    arguments = parser.parse_args()
    start = time.perf_counter()
    split = {"by": "run", "test": ["10"], "validation": ["09"]}
    settings = {"output": arguments.output, "ensemble": arguments.ensemble}
    prior = fit(arguments.trials, split, "prior", **settings)
    assert isinstance(prior, Prior)
    seconds = time.perf_counter() - start
    trials = Trials.load(arguments.trials)
    test = trials.select(np.flatnonzero(trials.metadata["run"] == "10"))
    embed = load_embedder(ROOT / "weights" / "scenes-generator" / "clip", torch.device("cpu"))
    shown = to_tensor(read_images(test.images(), prior.bank.size, test.picture_fit))
    found = {
        "n": len(test),
        "simulated": True,
        "ensemble": arguments.ensemble,
        "fit_seconds": round(seconds),
        "weights": {"similarity": prior.weights.similarity, "labels": prior.weights.attributes},
        "reader": read_table(decode(prior.reader, test), test, embed(shown)),
        "lda_pooled": lda_accuracy(arguments.output / "model", test),
    }
    for strength in [0.0, *arguments.strengths]:
        for temperature in (0.0, 1.0):
            settings = {"strength": strength, "temperature": temperature}
            images = decode(prior, test, num_images_per_prompt=1, **settings).images
            assert images is not None
            key = f"images, strength {strength:g}, temperature {temperature:g}"
            found[key] = image_table(images[:, 0], test, shown, embed)
    path = ROOT / "docs" / "results" / "reader.json"
    text = json.dumps(
        json.loads(json.dumps(found), parse_float=lambda x: round(float(x), 3)), indent=1
    )
    path.write_text(text + "\n", encoding="utf-8")
    print(text)


def lda_accuracy(model: Path, test: Trials) -> float:
    """Return the share of right categories of the baseline beside the model."""
    named = load_baselines(model)["lda_pooled"].decode(test).labels
    return float(np.mean(np.array(named) == test.metadata["category"].to_numpy()))


if __name__ == "__main__":
    main()
