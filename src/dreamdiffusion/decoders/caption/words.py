"""The words of a picture, from what it shows."""

from __future__ import annotations

from collections.abc import Mapping

from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, COLORS, Scene


def caption_of(shown: Mapping[str, str]) -> str:
    """Return the caption of a picture.

    Parameters
    ----------
    shown
        Value of each attribute that is known, ``category`` among them.

    Returns
    -------
    str
        For drawn scenes the words that their generator was taught, as far as attributes are known;
        for other categories "a picture of" them.

    Examples
    --------
    >>> caption_of({"category": "sailboat", "color": "red"})
    'a red sailboat'
    >>> caption_of({"category": "guitar"})
    'a picture of guitar'
    """
    category, color = shown["category"], shown.get("color", "")
    if category not in CATEGORIES:
        return f"a picture of {category.replace('_', ' ')}"
    if color not in COLORS:
        return Scene(category, "red").short_captions[1]
    if "place" not in shown or "background" not in shown:
        return Scene(category, color).short_captions[0]
    return Scene(category, color, shown["place"], shown["background"]).caption
