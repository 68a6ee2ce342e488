"""The pictures that the scored trials showed, each read once for every size that is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.files.pictures import is_square, read_images, to_tensor
from dreamdiffusion.files.schema import PictureFit
from dreamdiffusion.trials.trials import Trials


@dataclass
class PictureFiles:
    """Picture files, read when they are first asked for at a size.

    Parameters
    ----------
    paths
        One for each place; a file may stand at several.
    fit
        How they become squares.
    """

    paths: list[Path]
    fit: PictureFit
    _pixels: dict[tuple[int, PictureFit], NDArray[np.uint8]] = field(default_factory=dict)

    def distinct(self, size: int, fit: PictureFit | None = None) -> NDArray[np.uint8]:
        """Return every file once, ``(m, size, size, 3)``, in the order of its first place.

        Parameters
        ----------
        size
            Pixels.
        fit
            Instead of the files' own.
        """
        files = list(dict.fromkeys(self.paths))
        # Square pictures become the same whatever the way, and are read once.
        other = fit is not None and fit != self.fit and not all(map(is_square, files))
        key = (size, fit if other and fit else self.fit)
        if key not in self._pixels:
            self._pixels[key] = read_images(files, *key)
        return self._pixels[key]

    def tensor(self, size: int) -> Tensor:
        """Return the picture at every place, float32 ``(n, 3, size, size)`` in [0, 1]."""
        place = {path: i for i, path in enumerate(dict.fromkeys(self.paths))}
        pixels = self.distinct(size)[[place[path] for path in self.paths]]
        return to_tensor(pixels)


@dataclass
class Shown:
    """What the scored trials showed, as far as it is known.

    Attributes
    ----------
    files
        The picture file of each trial; None where only the category is known.
    seen
        The same as float32 ``(n, 3, size, size)`` in [0, 1].
    pools
        Where only the category is known: the pictures of each, ``(m, 3, size, size)`` in [0, 1].
    """

    files: PictureFiles | None
    seen: Tensor | None
    pools: dict[str, Tensor] | None

    @classmethod
    def of(cls, trials: Trials, size: int) -> Shown:
        """Read the pictures of trials at ``size`` x ``size`` pixels.

        Raises
        ------
        FileNotFoundError, ValueError
            If a picture is missing or cannot be read.
        """
        if trials.pairing == "stim_file":
            files = PictureFiles(trials.images(), trials.picture_fit)
            return cls(files, files.tensor(size), None)
        paths = trials.image_pools()
        by_category = trials.metadata.groupby("category")["pool"].unique()
        pools = {
            str(category): PictureFiles(
                [path for pool in names for path in paths[pool]], trials.picture_fit
            )
            for category, names in by_category.items()
        }
        return cls(None, None, {name: files.tensor(size) for name, files in pools.items()})
