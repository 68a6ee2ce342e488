"""What the judges of photographs make of photographs, of their VAE images, and of others.

    python benchmarks/photo_judges.py [../shared/data/photos40/photos40.zip]

50-way top-1 of `photos:lite2`: the class that it gives a photograph, among 49 others; and how often
`photos:lite0` finds a photograph by its VAE image. Needs the extra `photos`.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from dreamdiffusion.evaluation.metrics.feature_judges import open_judge
from dreamdiffusion.files.shipped import find_weights

OF_CLASS, N_WAY, DRAWS = 2, 50, 200
CPU = torch.device("cpu")


def photographs(path: Path) -> torch.Tensor:
    """Return the first photographs of each class of the validation side, (n, 3, 64, 64)."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith("val/") and "." in n)
        by_class: dict[str, list[str]] = {}
        for name in names:
            by_class.setdefault(name.split("/")[1], []).append(name)
        chosen = [name for of in by_class.values() for name in of[:OF_CLASS]]
        pixels = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]
    stacked = np.stack([np.asarray(picture) for picture in pixels])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def n_way(chances: np.ndarray, truth: np.ndarray) -> float:
    """Return how often the true class is the likeliest of `N_WAY`, drawn anew each time."""
    rng, hits = np.random.default_rng(1), []
    for row, place in zip(chances, truth, strict=True):
        others = np.delete(np.arange(chances.shape[1]), place)
        for _ in range(DRAWS):
            hits.append(row[place] > row[rng.choice(others, N_WAY - 1, replace=False)].max())
    return float(np.mean(hits))


def main() -> None:
    """Print the figures."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/photos40/photos40.zip")
    photos = photographs(path)
    vae = AutoencoderKL.from_pretrained(find_weights(Path("weights/scenes-generator")) / "vae")
    with torch.no_grad():
        again = ((vae.eval()(photos * 2 - 1).sample + 1) / 2).clamp(0, 1)
    judge, eye = open_judge("photos:lite2", CPU), open_judge("photos:lite0", CPU)
    chances = judge.probabilities(photos)
    truth = chances.argmax(axis=1)
    shuffled = np.random.default_rng(0).permutation(len(photos))
    print(f"{len(photos)} photographs, {N_WAY}-way top-1")
    print(f"  VAE images {n_way(judge.probabilities(again), truth):.3f}")
    print(f"  shuffled   {n_way(chances[shuffled], truth):.3f}")
    seen, drawn = (torch.nn.functional.normalize(eye.features(x), dim=1) for x in (photos, again))
    found = (drawn @ seen.T).argmax(dim=1) == torch.arange(len(photos))
    print(f"photograph found by its VAE image: {found.float().mean():.3f}")


if __name__ == "__main__":
    main()
