"""How many cropped pictures are found again, and how many others are taken for one of them.

    python benchmarks/changed_pictures.py [--photos FOLDER]

100 drawn scenes of 64 pixels (and 100 photos of a folder), each cropped by up to 4 pixels at each
edge; false alarms of the 100 against all the others. Some minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from dreamdiffusion.files.pictures import SUFFIXES, read_images
from dreamdiffusion.models.picture_descriptors import alike_pictures, describe_pictures
from dreamdiffusion.models.pictures import draw_pictures

SIZE, MOST, N = 64, 4, 100


def crop_at_random(pixels: np.ndarray, seed: int = 1) -> np.ndarray:
    """Cut up to `MOST` pixels off each edge of pictures (n, SIZE, SIZE, 3), at their size."""
    rng, changed = np.random.default_rng(seed), []
    for picture in pixels:
        left, top, right, bottom = rng.integers(0, MOST + 1, 4)
        part = Image.fromarray(picture[top : SIZE - bottom, left : SIZE - right])
        changed.append(np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
    return np.stack(changed)


def measure(what: str, asked: np.ndarray, others: np.ndarray) -> None:
    """Print the share of cropped pictures that are found, and the false alarms."""
    found = alike_pictures(asked, describe_pictures(crop_at_random(asked))).mean()
    false = int(alike_pictures(asked, describe_pictures(others)).sum())
    print(f"{what}: {found:.2f} of {len(asked)} found; {false} false against {len(others)}")


def main() -> None:
    """Measure scenes, and photos where a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of pictures")
    parser.add_argument("--scenes", type=int, default=16000, help="other scenes")
    asked = parser.parse_args()
    if asked.photos is not None:
        paths = sorted(p for p in asked.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
        order = np.random.default_rng(0).permutation(len(paths))
        photos = read_images([paths[i] for i in order], SIZE, "crop")
        measure("photos", photos[:N], photos[N:])
    measure("scenes", draw_pictures(N, SIZE, 2).pixels, draw_pictures(asked.scenes, SIZE, 1).pixels)


if __name__ == "__main__":
    main()
