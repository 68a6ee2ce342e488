"""The gallery: which trials are shown, by rank, and the picture of them, seen | generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dreamdiffusion.files.whole import write_picture

PAPER = (255, 255, 255)
INK = (28, 32, 38)
FAINT = (112, 118, 128)
RIGHT = (22, 122, 62)
WRONG = (196, 42, 42)

_TILE = 112
_COLUMNS = 8
_GAP = 4
_BETWEEN = 14  # between what was seen and what was generated
_CAPTION = 19
_BLOCK_GAP = 36
_MARGIN = 20
_GROUP = 26  # the name of a group


def trial_values(metric: str, trials: Mapping[str, Any]) -> tuple[str, list[float]]:
    """Return what the trials are ranked by: the metric, and its value of each trial.

    Parameters
    ----------
    metric : str
        That of the headline.
    trials : mapping
        ``Scores.trials``. A metric ``X_top1`` is the share of a trial's images that are named
        right, from ``X`` and ``judged_X``; another metric has its values under its own name.

    Returns
    -------
    metric : str
        ``metric``; ``category_top1`` where that is not recorded trial by trial; empty where
        neither is: then all values are equal, and the trials stay in their order.
    values : list of float, length n
    """
    if metric in trials:
        return metric, [float(value) for value in trials[metric]]
    for name in (metric, "category_top1"):
        shown, named = (trials.get(key + name.removesuffix("_top1")) for key in ("", "judged_"))
        if name.endswith("_top1") and shown is not None and named is not None:
            pairs = zip(shown, named, strict=True)
            return name, [sum(one == truth for one in row) / len(row) for truth, row in pairs]
    return "", [0.0] * len(trials["category"])


def rank_trials(values: Sequence[float], n: int) -> dict[str, NDArray[np.int64]]:
    """Choose trials by rank: nobody picks them.

    Parameters
    ----------
    values : sequence of float, length n_trials
        The higher, the better.
    n : int
        Of each group at most; never more than a third of the trials, so that no trial is in two.

    Returns
    -------
    dict
        Places of the trials under ``best``, ``median`` (the middle of the order) and ``worst``,
        each from better to worse, equal values by place; ``all``: the whole order. Of two trials,
        none is the median.

    Raises
    ------
    ValueError
        If a value is not finite, or n is below 1.
    """
    scores = np.asarray(values, dtype=float)
    if not np.isfinite(scores).all():
        raise ValueError(
            f"trial {int(np.flatnonzero(~np.isfinite(scores))[0])} has no finite value"
        )
    if n < 1:
        raise ValueError(f"n is {n}, expected 1 or more trials of each group")
    order = np.argsort(-scores, kind="stable")
    total = len(order)
    n = min(n, max(1, total // 3))
    between = order[n : max(n, total - n)]
    start = (len(between) - n + 1) // 2
    return {
        "best": order[:n],
        "median": between[max(0, start) : max(0, start) + n],
        "worst": order[max(n, total - n) :],
        "all": order,
    }


def to_picture(image: Tensor, size: int | None = None) -> Image.Image:
    """Turn a tensor (3, H, W) in [0, 1] into a picture, resized to ``size`` pixels if given."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).to("cpu").numpy().astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return picture


def with_draws(
    generated: Tensor, trials: Mapping[str, Any], draws: Tensor | None, n: int = 4
) -> tuple[Tensor, Sequence[str], Sequence[Sequence[str]] | None]:
    """Put the first draws behind the images of each trial, as `draw_gallery` takes them."""
    judged = trials.get("judged_category")
    if draws is None:
        return generated, trials["category"], judged
    if judged is not None:
        both = zip(judged, trials["judged_draws"], strict=True)
        judged = [[*own, *drawn[:n]] for own, drawn in both]
    return torch.cat([generated, draws[:, :n]], dim=1), trials["category"], judged


def draw_gallery(
    generated: Tensor,
    categories: Sequence[str],
    judged: Sequence[Sequence[str]] | None,
    groups: Mapping[str, Sequence[int] | NDArray[np.int64]],
    seen: Tensor | None = None,
    title: str = "",
    n_generated: int = 4,
    made: str = "generated from EEG",
) -> Image.Image:
    """Draw trials, seen | generated, one column for each group of them.

    Parameters
    ----------
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1]; at most eight samples of a trial are drawn, the first.
    categories : sequence of str, length n
        What was shown.
    judged : sequence of sequence of str, (n, k), optional
        What the judge names: green with a tick where it is right, red with a cross where not.
        None where there is no judge.
    groups : mapping of str to places of trials
        A title above each column; empty groups are left out. See `rank_trials`.
    seen : Tensor, (n, 3, H, W), optional
        Without it the category stands in words.
    title : str
        One line above.
    n_generated : int
        Samples that are scored; those behind them were drawn by their probability.
    made : str
        What stands over them.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    ValueError
        If there is no trial or the lengths differ.
    """
    n, k = len(generated), min(_COLUMNS, generated.shape[1] if generated.ndim == 5 else 0)
    n_judged = n if judged is None else len(judged)
    if not n or not k or len(categories) != n or n_judged != n:
        raise ValueError(
            f"{n} trials of images, {len(categories)} categories, {n_judged} judged trials"
        )
    columns = {name: list(rows) for name, rows in groups.items() if len(rows)}
    if not columns:
        raise ValueError("no group has a trial to draw")
    n_rows = max(len(rows) for rows in columns.values())
    block = _TILE + _BETWEEN + k * _TILE + (k - 1) * _GAP
    row = _TILE + _CAPTION + 8
    head = 30 if title else 0
    width = 2 * _MARGIN + len(columns) * block + (len(columns) - 1) * _BLOCK_GAP
    top = _MARGIN + head + _GROUP
    canvas = Image.new("RGB", (width, top + 20 + n_rows * row + _MARGIN), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        font = _fitting(draw, title, 17, width - 2 * _MARGIN)
        draw.text((_MARGIN, _MARGIN - 4), title, INK, font)
    for b, (name, rows) in enumerate(columns.items()):
        left = _MARGIN + b * (block + _BLOCK_GAP)
        draw.text((left, top - _GROUP), name, INK, _font(16))
        draw.text((left, top), "seen" if seen is not None else "category seen", FAINT, _font(13))
        first = left + _TILE + _BETWEEN
        scored = "best guess" if n_generated == 1 < k else made
        draw.text((first, top), scored, FAINT, _font(13))
        if k > n_generated:
            drawn = first + n_generated * (_TILE + _GAP)
            draw.text((drawn, top), "drawn by probability", FAINT, _font(13))
        for r, i in enumerate(rows):
            y = top + 20 + r * row
            if seen is not None:
                canvas.paste(to_picture(seen[i], _TILE), (left, y))
            else:
                draw.rectangle((left, y, left + _TILE - 1, y + _TILE - 1), outline=FAINT)
            _caption(draw, left, y + _TILE, categories[i], INK)
            for s in range(k):
                x = left + _TILE + _BETWEEN + s * (_TILE + _GAP)
                canvas.paste(to_picture(generated[i, s], _TILE), (x, y))
                if judged is None:
                    continue
                right = judged[i][s] == categories[i]
                _mark(draw, x + 3, y + _TILE + 6, right)
                _caption(draw, x + 15, y + _TILE, judged[i][s], RIGHT if right else WRONG, 15)
    return canvas


def save_gallery(path: Path, picture: Image.Image) -> Path:
    """Write the gallery as PNG."""
    write_picture(path, picture, optimize=True)
    return path


def _caption(
    draw: ImageDraw.ImageDraw, x: int, y: int, text: str, ink: tuple[int, int, int], used: int = 0
) -> None:
    draw.text((x, y + 2), text, ink, _fitting(draw, text, 13, _TILE - used))


def _mark(draw: ImageDraw.ImageDraw, x: int, y: int, right: bool) -> None:
    """A tick or a cross, so that the meaning does not hang on red and green alone."""
    if right:
        draw.line((x, y + 5, x + 3, y + 8, x + 8, y + 1), RIGHT, 2, "curve")
    else:
        draw.line((x + 1, y + 1, x + 8, y + 8), WRONG, 2)
        draw.line((x + 8, y + 1, x + 1, y + 8), WRONG, 2)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitting(
    draw: ImageDraw.ImageDraw, text: str, size: int, width: int
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font at ``size``, or smaller where the text would not fit."""
    while size > 8 and draw.textlength(text, font=_font(size)) > width:
        size -= 1
    return _font(size)
