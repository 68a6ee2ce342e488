"""Picture files -> pixels: the one place where a picture is opened.

Every picture becomes 8-bit RGB, upright as its EXIF says. 16-bit grey is scaled; what lies behind a
transparent picture, and around one that is padded, is mid grey, the usual background of a visual
experiment. What has no one meaning as a picture (an animation, several pages, numbers whose white
is not defined) is an error.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dreamdiffusion.files.schema import PictureFit

if TYPE_CHECKING:
    from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
# Named, since others of Pillow's formats run a program (EPS) or are no pictures of one view.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
_GREY = (128, 128, 128)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Turn uint8 ``(n, h, w, 3)`` into float32 ``(n, 3, h, w)`` in [0, 1]."""
    import torch  # not at the top: preparing trials needs none of it

    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255


def picture_path(root: Path, name: str) -> Path:
    """Return the path of a picture (or class folder) that is named relative to its folder.

    Links are followed as long as they stay inside. Where `root` is part of a BIDS folder, as
    ``stimuli`` is, a link may lead anywhere inside that, since DataLad keeps its files so.

    Raises
    ------
    ValueError
        If the name, or the link that it is, leads out of the folder: a table that somebody else
        wrote may not name files of this machine.
    """
    path = root / name
    inside = root.resolve()
    # The name itself has to stay in the folder, whatever links there are.
    leaves = Path(name).is_absolute() or ".." in Path(name).parts
    bids = (root.parent / "dataset_description.json").is_file()
    if leaves or not path.resolve().is_relative_to(inside.parent if bids else inside):
        raise ValueError(
            f"picture {name} lies outside the picture folder {root} (it is {path.resolve()}), and "
            "pictures are read from there alone; put it there, or name its folder with --stimuli"
        )
    return path


def pictures_in(root: Path, folder: str) -> list[Path]:
    """List the pictures of a class folder below `root`, sorted.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder does not exist or holds no picture, or one lies outside `root`.
    """
    inside = picture_path(root, folder)
    if not inside.is_dir():
        raise FileNotFoundError(f"class folder {inside} does not exist")
    names = sorted(p.name for p in inside.iterdir() if p.suffix.lower() in SUFFIXES)
    if not names:
        raise FileNotFoundError(f"class folder {inside} holds no picture")
    return [picture_path(root, f"{folder}/{name}") for name in names]


def open_picture(path: Path) -> Image.Image:
    """Open one picture as upright 8-bit RGB, of its own size.

    Colour profiles are ignored: CMYK becomes ``(255 - ink) * (255 - black) / 255``. 16-bit grey is
    divided by 257, so that the highest value is white.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be decoded as a picture, has several frames or pages, 32-bit samples, or
        more than Pillow's limit of 89 million pixels.
    """
    if not path.is_file():
        raise FileNotFoundError(f"picture {path} does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                n_frames = getattr(image, "n_frames", 1)
                # A phone's MPO is a JPEG with previews behind it; the first is the picture.
                if n_frames > 1 and image.format != "MPO":
                    raise ValueError(f"it has {n_frames} frames or pages; write each as a picture")
                return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise ValueError(
            f"picture {path} cannot be read: it is none of {', '.join(_FORMATS)}"
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = f"{Image.MAX_IMAGE_PIXELS or 0:,}"
        raise ValueError(f"picture {path} has more than {most} pixels; make it smaller") from error
    except Exception as error:  # decoders raise anything for a broken file
        raise ValueError(f"picture {path} cannot be read: {error}") from error


def is_square(path: Path) -> bool:
    """Whether a picture is as wide as it is high, by its header; False where that is not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return image.width == image.height
    except (OSError, ValueError, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return False


def read_image(path: Path, size: int, fit: PictureFit) -> np.ndarray:
    """Read one picture as uint8 ``(size, size, 3)``; see `open_picture` for errors."""
    image = open_picture(path)
    square, method = (size, size), Image.Resampling.LANCZOS
    if fit == "crop":
        image = ImageOps.fit(image, square, method)
    elif fit == "pad":
        image = ImageOps.pad(image, square, method, color=_GREY)
    else:
        image = image.resize(square, method)
    return np.asarray(image, dtype=np.uint8)


def read_images(paths: list[Path], size: int, fit: PictureFit) -> np.ndarray:
    """Read many pictures as uint8 ``(n, size, size, 3)``; see `open_picture` for errors."""
    return np.stack([read_image(path, size, fit) for path in paths])


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return 8-bit RGB, on mid grey where the picture is transparent."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.uint32)
        image = Image.fromarray(((grey + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its samples have 32 bits (mode {image.mode}); save it with 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*_GREY, 255))
        image = Image.alpha_composite(behind, image)
    return image.convert("RGB")
