"""What the networks of the extra `photos` make of photographs, of their VAE images, and of others.

    python benchmarks/photo_judges.py [../shared/data/photos40/photos40.zip]

One table: 50-way top-1 of `photos:lite2`, against the class that it gives the photograph (the
papers' rule) and against the photograph's own class; and how often the nearest of other photographs
in the space of `--clip photos` (Lite0) and of the bundled CLIP is of its category. 95 % intervals
over photographs.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from dreamdiffusion.evaluation.metrics.feature_judges import open_judge
from dreamdiffusion.evaluation.metrics.pairs import n_way_pairs
from dreamdiffusion.evidence.statistics.bootstrap import percentile_interval
from dreamdiffusion.files.shipped import find_weights
from dreamdiffusion.models.embedder import PHOTOS, load_embedder

TESTED, KNOWN, N_WAY, DRAWS = 2, 5, 50, 2000
"""Photographs of a category that are asked about, those it is known by, classes to choose from, and
resamplings."""
GENERATOR = find_weights(Path("weights/scenes-generator"))

Hits = NDArray[np.float64]


def photographs(path: Path, side: str, each: int) -> tuple[torch.Tensor, NDArray[np.str_]]:
    """Return the first photographs of each category of a side, (n, 3, 64, 64), and which it is."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(f"{side}/") and "." in n)
        by_category: dict[str, list[str]] = {}
        for name in names:
            by_category.setdefault(name.split("/")[1], []).append(name)
        chosen = [(of, name) for of, all_of in by_category.items() for name in all_of[:each]]
        files = [io.BytesIO(archive.read(name)) for _, name in chosen]
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return images, np.array([category for category, _ in chosen])


def own_class(chances: NDArray, category: NDArray[np.str_]) -> dict[str, int]:
    """Return the class that a judge gives each category's known photographs together."""
    return {str(name): int(chances[category == name].mean(0).argmax()) for name in set(category)}


def n_way(chances: NDArray, truth: NDArray[np.int64]) -> Hits:
    """Return the expectation of N-way top-1 of each photograph."""
    return n_way_pairs(chances[:, None], truth, N_WAY).diagonal()


def nearest(known: torch.Tensor, of: NDArray[np.str_]) -> Callable[[torch.Tensor], NDArray]:
    """Return what names the category of the nearest known embedding."""
    return lambda embeddings: of[(embeddings @ known.T).argmax(dim=1).numpy()]


def main() -> None:
    """Print the table."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/photos40/photos40.zip")
    photos, category = photographs(path, "val", TESTED)
    known, known_category = photographs(path, "train", KNOWN)
    vae = AutoencoderKL.from_pretrained(GENERATOR / "vae").eval()
    with torch.no_grad():
        again = ((vae(photos * 2 - 1).sample + 1) / 2).clamp(0, 1)
    moved = np.roll(np.arange(len(photos)), len(photos) // 2)  # of another category
    judge = open_judge("photos:lite2", torch.device("cpu"))
    own = own_class(judge.probabilities(known), known_category)
    labels = np.array([own[name] for name in category])
    rows: dict[str, list[Hits]] = {"true pictures": [], "their VAE images": [], "shuffled": []}
    seen, drawn = judge.probabilities(photos), judge.probabilities(again)
    for truth in (seen.argmax(axis=1), labels):
        for row, chances in zip(rows.values(), (seen, drawn, seen[moved]), strict=True):
            row.append(n_way(chances, truth))
    found = {}
    for source in (PHOTOS, GENERATOR / "clip"):
        embed = load_embedder(source)
        name = nearest(embed(known), known_category)
        seen, drawn = embed(photos), embed(again)
        for row, embeddings in zip(rows.values(), (seen, drawn, seen[moved]), strict=True):
            row.append((name(embeddings) == category).astype(float))
        found[source] = ((drawn @ seen.T).argmax(dim=1) == torch.arange(len(seen))).float().mean()
    rng = np.random.default_rng(0)
    print(f"{len(photos)} photographs of {len(own)} categories, {len(known)} known\n")
    print("| | Lite2, its own class | Lite2, the label | Lite0, nearest | bundled CLIP, nearest |")
    print("| --- | --- | --- | --- | --- |")
    for name, columns in rows.items():
        cells = []
        for hits in columns:
            draws = hits[rng.integers(len(hits), size=(DRAWS, len(hits)))].mean(axis=1)
            low, high = percentile_interval(draws)
            cells.append(f"{hits.mean():.3f} ({low:.3f} to {high:.3f})")
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nphotograph found by its VAE image among {len(photos)}, Lite0: {found[PHOTOS]:.3f}")


if __name__ == "__main__":
    main()
