"""Captioned pictures to train a generator on: drawn scenes, or a user's own folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dreamdiffusion.datasets.simulation.scenes import random_scene, render
from dreamdiffusion.files.pictures import SUFFIXES, picture_path, read_images, to_tensor
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.schema import PictureFit


@dataclass
class Pictures:
    """Pictures and what they show.

    Parameters
    ----------
    pixels
        uint8 ``(n, height, width, 3)``.
    captions
        One text a picture.
    captions_by_length
        All the texts of each picture; a list holds one for every picture, said at one length ("a
        red sailboat", or "a sailboat"). Empty where a picture has but one text.
    """

    pixels: np.ndarray
    captions: list[str]
    captions_by_length: list[list[str]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Twelve letters that are others where a picture or a caption is."""
        content = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        content.update("\n".join(self.captions).encode("utf-8"))
        return content.hexdigest()[:12]

    def images(self, indices: torch.Tensor | slice) -> torch.Tensor:
        """Return pictures as float32 ``(k, 3, height, width)`` in [0, 1]."""
        return to_tensor(self.pixels[_places(indices)])

    def select(self, indices: torch.Tensor) -> Pictures:
        """Return the pictures at these places, int64 ``(k,)``, with their caption."""
        return Pictures(self.pixels[_places(indices)], [self.captions[i] for i in indices.tolist()])


def _places(indices: torch.Tensor | slice) -> NDArray[np.int64] | slice:
    # NumPy takes a tensor of one place for a number, and gives a picture instead of a list of one.
    return indices.numpy() if isinstance(indices, torch.Tensor) else indices


CAPTION_LENGTHS = (0.5, 0.25, 0.25)
"""How often a drawn picture keeps its full caption, colour and category, or the category alone."""


def draw_pictures(n: int, size: int, seed: int) -> Pictures:
    """Draw ``n`` random scenes, a pure function of the arguments.

    Half of them keep their full caption; a quarter each say only colour and category, or only the
    category. Full captions alone could be kept apart by colour and background, and a CLIP trained
    on them learns the category last. All three of every picture are in
    ``captions_by_length``.
    """
    rng = np.random.default_rng([seed, 7])
    scenes = [random_scene(rng) for _ in range(n)]
    pixels = np.empty((n, size, size, 3), dtype=np.uint8)
    for i, scene in enumerate(progress(scenes, "drawing scenes", unit="picture")):
        pixels[i] = np.asarray(render(scene, size))
    words = np.random.default_rng([seed, 8]).choice(3, n, p=CAPTION_LENGTHS)
    texts = [(scene.caption, *scene.short_captions) for scene in scenes]
    captions = [texts[i][which] for i, which in enumerate(words)]
    return Pictures(pixels, captions, [list(length) for length in zip(*texts, strict=True)])


@dataclass
class FreshScenes:
    """An endless list of drawn pictures: picture *i* is a pure function of the seed and *i*.

    A training that reads each place once never sees a picture twice. The random numbers are a
    stream of their own (9), apart from `draw_pictures` (7 and 8).

    Parameters
    ----------
    size
        Width and height in pixels.
    seed
        Another one gives other pictures.
    """

    size: int
    seed: int

    def read(self, indices: torch.Tensor) -> Pictures:
        """Draw the pictures at these places, int64 ``(n,)``, with a caption each."""
        pixels = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        captions = []
        for i, index in enumerate(indices.tolist()):
            rng = np.random.default_rng([self.seed, 9, index])
            scene = random_scene(rng)
            pixels[i] = np.asarray(render(scene, self.size))
            texts = (scene.caption, *scene.short_captions)
            captions.append(texts[rng.choice(3, p=CAPTION_LENGTHS)])
        return Pictures(pixels, captions)


def read_pictures(
    folder: Path, size: int, fit: PictureFit = "crop", flip: bool = False
) -> Pictures:
    """Read a folder of captioned pictures.

    The captions come from ``metadata.jsonl`` or ``metadata.csv`` (columns ``file_name``, ``text``),
    or, without such a file, from the class folder a picture lies in: ``a picture of <class>``.

    Parameters
    ----------
    size
        Pixels, width and height.
    fit
        How pictures become squares.
    flip
        Add every picture mirrored.

    Raises
    ------
    FileNotFoundError
        If the folder or a picture that the metadata names is missing.
    ValueError
        If there is no picture, one cannot be read, or one lies outside the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"picture folder {folder} does not exist")
    listed = _read_metadata(folder)
    if listed is None:
        paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        loose = [p for p in paths if p.parent == folder]
        if loose:
            raise ValueError(
                f"picture {loose[0]} has no caption: put pictures into one folder a class, or "
                f"write {folder / 'metadata.jsonl'} with file_name and text on each line"
            )
        paths = [picture_path(folder, str(p.relative_to(folder))) for p in paths]
        listed = [(p, f"a picture of {p.parent.name.replace('_', ' ')}") for p in paths]
    if not listed:
        raise ValueError(f"picture folder {folder} holds no picture ({', '.join(SUFFIXES)})")
    pixels = read_images([path for path, _ in listed], size, fit)
    captions = [text for _, text in listed]
    if flip:
        pixels = np.concatenate([pixels, pixels[:, :, ::-1]])
        captions = captions * 2
    return Pictures(pixels, captions)


def _read_metadata(folder: Path) -> list[tuple[Path, str]] | None:
    lines, table = folder / "metadata.jsonl", folder / "metadata.csv"
    if lines.is_file():
        try:
            rows = [json.loads(line) for line in lines.read_text("utf-8").splitlines() if line]
        except json.JSONDecodeError as error:
            raise ValueError(f"{lines} is not one JSON object a line: {error}") from error
        source = lines
    elif table.is_file():
        rows = pd.read_csv(table, dtype=str).to_dict("records")
        source = table
    else:
        return None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not {"file_name", "text"} <= row.keys():
            raise ValueError(f"{source}, row {number}: expected file_name and text, got {row}")
    return [(picture_path(folder, str(row["file_name"])), str(row["text"])) for row in rows]
