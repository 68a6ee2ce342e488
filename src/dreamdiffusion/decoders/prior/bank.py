"""A bank of pictures that nobody saw: what a person may have been looking at.

It stands for the prior over pictures. Drawn scenes are a pure function of a seed, so that of them
only the embeddings are kept; a folder of pictures stays where it is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dreamdiffusion.datasets.simulation.scenes import Scene, random_scene, render
from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.decoders.prior.features import low_level
from dreamdiffusion.files.pictures import SUFFIXES, picture_path, read_images
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.schema import PictureFit
from dreamdiffusion.files.whole import parse_json, write_json, write_tensors
from dreamdiffusion.models.embedder import Embed

logger = logging.getLogger(__name__)

RECORD, EMBEDDINGS = "bank.json", "bank.safetensors"
STREAM = 11
"""Of the random numbers of drawn scenes; those of the generator's pictures are others."""
BATCH = 512
N_COMPARED, ROUNDING = 32, 2e-3
"""Pictures by which a CLIP is known again, and how far half precision may move its embeddings."""


@dataclass
class Bank:
    """Pictures, their embeddings, and what they show.

    Parameters
    ----------
    embeddings
        Unit norm ``(m, clip_dim)``.
    attributes
        m rows; a column for each attribute, values as text.
    size
        Pixels of a picture.
    scenes
        m scenes, where the pictures are drawn; else empty.
    paths
        m files, where they are read; else empty.
    seed
        Of the scenes.
    fit
        How files become squares: as those of the trials.
    cells
        What `low_level` says of the pictures; None: not known yet (`described`).
    """

    embeddings: torch.Tensor
    attributes: pd.DataFrame
    size: int
    scenes: list[Scene]
    paths: list[Path]
    seed: int = 0
    fit: PictureFit = "crop"
    cells: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    @classmethod
    def of_scenes(
        cls, n: int, size: int, seed: int, embed: Embed, known: Path | None = None
    ) -> Bank:
        """Draw n random scenes and embed them.

        Parameters
        ----------
        known
            Folder of a bank that was saved. If it begins with the same scenes, and ``embed`` gives
            its first pictures the embeddings that it holds, these are taken and none is drawn.
        """
        if known is not None and (known / RECORD).is_file():
            saved = cls.load(known)
            if saved._begins_as(n, size, seed, embed):
                logger.info("bank of pictures: the embeddings of %s are those of this CLIP", known)
                attributes = saved.attributes.iloc[:n]
                bank = cls(saved.embeddings[:n], attributes, size, saved.scenes[:n], [], seed)
                bank.cells = None if saved.cells is None else saved.cells[:n]
                return bank
        scenes = draw_scenes(n, seed)
        bank = cls(torch.empty(n, 0), _attributes_of(scenes), size, scenes, [], seed)
        return bank._embedded(embed)

    def _begins_as(self, n: int, size: int, seed: int, embed: Embed) -> bool:
        """Whether its first n pictures are those scenes, embedded as ``embed`` does."""
        if (self.size, self.seed) != (size, seed) or not n <= len(self.scenes):
            return False
        first = np.arange(min(n, N_COMPARED))
        embeddings = embed(self.pictures(first)).float()
        return embeddings.shape[1] == self.embeddings.shape[1] and torch.allclose(
            embeddings, self.embeddings[: len(first)], rtol=0, atol=ROUNDING
        )

    @classmethod
    def of_folder(
        cls,
        folder: Path,
        size: int,
        embed: Embed,
        fit: PictureFit = "crop",
        embed_size: int | None = None,
    ) -> Bank:
        """Read a folder with one folder of pictures a category, and embed them.

        Parameters
        ----------
        embed_size
            Pixels at which they are read to be embedded; None: ``size``.

        Raises
        ------
        FileNotFoundError, ValueError
            If it holds no picture in such a folder, or one that leads out of it.
        """
        found = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(
                f"bank {folder} holds no pictures; give a folder with one folder a category"
            )
        found = [picture_path(folder, str(path.relative_to(folder))) for path in found]
        attributes = pd.DataFrame({"category": [path.parent.name for path in found]})
        bank = cls(torch.empty(len(found), 0), attributes, size, [], found, fit=fit)
        return bank._embedded(embed, embed_size)

    def pictures(self, places: np.ndarray, size: int | None = None) -> torch.Tensor:
        """Return pictures ``(k, 3, size, size)`` in [0, 1], by default of the bank's size."""
        size = size or self.size
        if self.scenes:
            pixels = np.stack([np.asarray(render(self.scenes[i], size)) for i in places])
        else:
            pixels = read_images([self.paths[i] for i in places], size, self.fit)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def captions(self, places: np.ndarray) -> list[str]:
        """Return what pictures show, in words."""
        if self.scenes:
            return [self.scenes[i].caption for i in places]
        categories = self.attributes["category"].iloc[places]
        return [f"a picture of {name.replace('_', ' ')}" for name in categories]

    def describe(self, places: np.ndarray) -> list[str]:
        """Return which pictures these are, and what they show."""
        captions = self.captions(places)
        if self.scenes:
            names = [f"scene {place} of seed {self.seed}" for place in places]
        else:
            names = ["/".join(self.paths[place].parts[-2:]) for place in places]
        return [f"{name}: {text}" for name, text in zip(names, captions, strict=True)]

    def _embedded(self, embed: Embed, size: int | None = None) -> Bank:
        parts = np.array_split(np.arange(len(self)), -(-len(self) // BATCH))
        bar = progress(parts, "bank of pictures", unit="batch")
        embeddings, cells = [], []
        for part in bar:
            pictures = self.pictures(part, size)
            embeddings.append(embed(pictures).float())
            cells.append(low_level(pictures))
        self.embeddings = torch.cat(embeddings)
        if size in (None, self.size):
            self.cells = torch.cat(cells)
        return self

    def described(self) -> torch.Tensor:
        """Return the cells of the pictures, which are drawn or read for it where none are kept."""
        if self.cells is None:
            parts = np.array_split(np.arange(len(self)), -(-len(self) // BATCH))
            bar = progress(parts, "cells of the bank's pictures", unit="batch")
            self.cells = torch.cat([low_level(self.pictures(part)) for part in bar])
        return self.cells

    def save(self, folder: Path) -> None:
        """Write embeddings and cells, in half precision, and where the pictures come from."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = {"embeddings": self.embeddings, "cells": self.cells}
        tensors = {name: of.half().contiguous() for name, of in kept.items() if of is not None}
        write_tensors(folder / EMBEDDINGS, tensors)
        record: dict[str, Any] = {
            "size": self.size,
            "seed": self.seed,
            "picture_fit": self.fit,
            "n_scenes": len(self.scenes),
        }
        if self.paths:  # relative, so that both can move together
            record["folder"] = relative_source(self.paths[0].parents[1], folder)
            record["names"] = ["/".join(path.parts[-2:]) for path in self.paths]
        write_json(folder / RECORD, record)

    @classmethod
    def load(cls, folder: Path) -> Bank:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder holds no bank, or something else.
        """
        path = folder / RECORD
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no bank of pictures ({RECORD})")
        try:
            record = parse_json(path.read_text(encoding="utf-8"))
            tensors = load_file(folder / EMBEDDINGS)
            embeddings = tensors["embeddings"].float()
            scenes = draw_scenes(record["n_scenes"], record["seed"])
            paths = _paths_of(record, folder)
            size, seed = int(record["size"]), int(record["seed"])
            fit = record["picture_fit"]
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ValueError(f"{folder} is not a bank of pictures: {error!r}") from error
        if len(embeddings) != len(scenes) + len(paths):
            raise ValueError(
                f"{folder} has {len(embeddings)} embeddings of {len(scenes) + len(paths)} pictures"
            )
        if scenes:
            attributes = _attributes_of(scenes)
        else:
            attributes = pd.DataFrame({"category": [name.parent.name for name in paths]})
        unit = torch.nn.functional.normalize(embeddings)
        cells = tensors["cells"].float() if "cells" in tensors else None
        return cls(unit, attributes, size, scenes, paths, seed, fit, cells)


def _paths_of(record: dict[str, Any], folder: Path) -> list[Path]:
    """Return the pictures that a record names, each in a category's folder of the bank's."""
    if "names" not in record:
        return []
    root = Path(resolve_source(record["folder"], folder))
    parts = [name.split("/") for name in record["names"]]
    if any(len(part) != 2 or ".." in part for part in parts):
        raise ValueError("a picture is not named by its category and its file")
    return [root / category / name for category, name in parts]


def draw_scenes(n: int, seed: int) -> list[Scene]:
    """Return n random scenes, a pure function of the arguments."""
    rng = np.random.default_rng([seed, STREAM])
    return [random_scene(rng) for _ in range(n)]


def _attributes_of(scenes: list[Scene]) -> pd.DataFrame:
    names = ("category", "color", "place", "background")
    return pd.DataFrame({name: [getattr(scene, name) for scene in scenes] for name in names})
