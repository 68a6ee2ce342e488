"""The gallery picture: what was seen beside what was generated, trial by trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

PAPER = (255, 255, 255)
INK = (28, 32, 38)
FAINT = (112, 118, 128)
RIGHT = (22, 122, 62)
WRONG = (196, 42, 42)

_TILE = 112
_GAP = 4
_BETWEEN = 14  # between what was seen and what was generated
_CAPTION = 19
_BLOCK_GAP = 36
_MARGIN = 20


def to_picture(image: Tensor, size: int | None = None) -> Image.Image:
    """Turn a tensor (3, H, W) in [0, 1] into a picture, resized to ``size`` pixels if given."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255 + 0.5).to("cpu").numpy().astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return picture


def draw_gallery(
    generated: Tensor,
    categories: list[str],
    judged: list[list[str]],
    seen: Tensor | None = None,
    title: str = "",
    n_rows: int = 8,
    n_blocks: int = 3,
) -> Image.Image:
    """Draw the first trials: seen | generated, in columns of rows.

    The trials are the first ones given, never picked by their score.

    Parameters
    ----------
    generated : Tensor, (n, k, 3, H, W)
        In [0, 1]; at most four samples of a trial are drawn, the first.
    categories : list of str, length n
        What was shown.
    judged : list of list of str, (n, k)
        What the judge names: green with a tick where it is right, red with a cross where not.
    seen : Tensor, (n, 3, H, W), optional
        Without it the category stands in words.
    title : str
        One line above.
    n_rows, n_blocks : int
        Rows in a column of rows, and number of such columns, at most.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    ValueError
        If there is no trial or the lengths differ.
    """
    n, k = len(generated), min(4, generated.shape[1] if generated.ndim == 5 else 0)
    if not n or not k or len(categories) != n or len(judged) != n:
        raise ValueError(
            f"{n} trials of images, {len(categories)} categories, {len(judged)} judged trials"
        )
    n_shown = min(n, n_rows * n_blocks)
    n_blocks = min(n_blocks, -(-n_shown // n_rows))
    n_rows = -(-n_shown // n_blocks)
    block = _TILE + _BETWEEN + k * _TILE + (k - 1) * _GAP
    row = _TILE + _CAPTION + 8
    head = 30 if title else 0
    width = 2 * _MARGIN + n_blocks * block + (n_blocks - 1) * _BLOCK_GAP
    canvas = Image.new("RGB", (width, 2 * _MARGIN + head + 20 + n_rows * row), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        font = _fitting(draw, title, 17, width - 2 * _MARGIN)
        draw.text((_MARGIN, _MARGIN - 4), title, INK, font)
    for b in range(n_blocks):
        left = _MARGIN + b * (block + _BLOCK_GAP)
        top = _MARGIN + head
        draw.text((left, top), "seen" if seen is not None else "category seen", FAINT, _font(13))
        draw.text((left + _TILE + _BETWEEN, top), "generated from EEG", FAINT, _font(13))
    for i in range(n_shown):
        b, r = divmod(i, n_rows)
        left = _MARGIN + b * (block + _BLOCK_GAP)
        top = _MARGIN + head + 20 + r * row
        if seen is not None:
            canvas.paste(to_picture(seen[i], _TILE), (left, top))
        else:
            draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=FAINT)
        _caption(draw, left, top + _TILE, categories[i], INK)
        for s in range(k):
            x = left + _TILE + _BETWEEN + s * (_TILE + _GAP)
            canvas.paste(to_picture(generated[i, s], _TILE), (x, top))
            right = judged[i][s] == categories[i]
            _mark(draw, x + 3, top + _TILE + 6, right)
            _caption(draw, x + 15, top + _TILE, judged[i][s], RIGHT if right else WRONG, 15)
    return canvas


def save_gallery(path: Path, picture: Image.Image) -> Path:
    """Write the gallery as PNG."""
    picture.save(path, optimize=True)
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
