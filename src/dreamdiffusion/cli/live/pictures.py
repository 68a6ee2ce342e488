"""The pictures that the markers of a stream name, such as those of `stimulate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dreamdiffusion.datasets.own.shown import class_of_picture, pictures_by_name
from dreamdiffusion.files.pictures import picture_path
from dreamdiffusion.recordings.streams.source import Marker


class NamedPictures:
    """Finds the picture of a marker by its text, as `bids` does afterwards.

    Parameters
    ----------
    folder
        Of the pictures, one folder per class, or all in one.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"picture folder {folder} does not exist; name the folder that the person is shown"
            )
        self._folder, self._by_name = folder, pictures_by_name(folder)
        if not self._by_name:
            raise FileNotFoundError(f"{folder} holds no picture")

    def find(self, marker: Marker) -> Marker:
        """Return a marker with its picture, and the class of that as its value; others as is."""
        found = self._by_name.get(marker.value.lower(), [])
        if len(found) != 1:
            return marker
        path = picture_path(self._folder, found[0])
        return replace(marker, value=class_of_picture(found[0]), picture=path, stim_file=found[0])
