"""Pictures of every kind become upright 8-bit RGB squares: pixel values, refusals, folders."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamdiffusion.files.pictures import (
    is_square,
    open_picture,
    picture_path,
    read_image,
    read_images,
)


def pixels(path: Path) -> list[list[list[int]]]:
    return np.asarray(open_picture(path)).tolist()


def test_16_bit_grey_is_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129], [32896, 65406, 65535]], dtype=np.uint16)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert [[p[0] for p in row] for row in pixels(tmp_path / name)] == [
            [0, 0, 1],
            [128, 254, 255],
        ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    """A picture of four colours is saved turned and mirrored, with the tag that undoes it."""
    upright = Image.new("RGB", (4, 2))
    for x, colour in enumerate(("red", "lime", "blue", "white")):
        upright.paste(colour, (x, 0, x + 1, 1))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = stored.getexif()
    exif[0x112] = orientation
    stored.save(tmp_path / "phone.png", exif=exif)
    assert pixels(tmp_path / "phone.png") == np.asarray(upright).tolist()


def test_ink_palette_and_transparency(tmp_path: Path) -> None:
    Image.new("CMYK", (1, 1), (100, 0, 50, 30)).save(tmp_path / "ink.tif")
    assert pixels(tmp_path / "ink.tif") == [[[137, 225, 181]]]  # (255 - 100) * (255 - 30) / 255
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png")
    assert pixels(tmp_path / "palette.png") == [[[10, 20, 30], [200, 100, 0]]]
    palette.save(tmp_path / "clear.png", transparency=0)  # the first colour is no colour
    assert pixels(tmp_path / "clear.png") == [[[128, 128, 128], [200, 100, 0]]]
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    half.putpixel((1, 0), (255, 0, 0, 51))
    half.save(tmp_path / "half.png")
    assert pixels(tmp_path / "half.png") == [[[128, 128, 128], [153, 102, 102]]]  # a fifth of red
    Image.new("LA", (1, 1), (200, 255)).save(tmp_path / "grey.png")
    assert pixels(tmp_path / "grey.png") == [[[200, 200, 200]]]
    Image.new("1", (1, 1), 1).save(tmp_path / "bit.png")
    assert pixels(tmp_path / "bit.png") == [[[255, 255, 255]]]


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png", "pages.tif"])
def test_several_frames_or_pages_are_no_picture(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"{name} cannot be read: it has 3 frames or pages"):
        open_picture(tmp_path / name)
    frames[0].save(tmp_path / name)
    assert np.asarray(open_picture(tmp_path / name)).shape == (4, 4, 3)


def test_the_first_view_of_a_phones_file_is_the_picture(tmp_path: Path) -> None:
    views = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "red")]
    views[0].save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=views[1:])
    assert pixels(tmp_path / "phone.jpg")[0][0] == [0, 0, 254]


def png_of_nothing(path: Path, width: int, height: int) -> None:
    """Write a small PNG that says that it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(("width", "height"), [(60000, 60000), (10000, 10000)])
def test_a_picture_of_too_many_pixels(tmp_path: Path, width: int, height: int) -> None:
    png_of_nothing(tmp_path / "bomb.png", width, height)
    with pytest.raises(ValueError, match=r"bomb\.png has more than 89,478,485 pixels; make"):
        open_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        open_picture(tmp_path / "gone.png")
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "numbers.tif")
    with pytest.raises(ValueError, match="samples have 32 bits"):
        open_picture(tmp_path / "numbers.tif")
    # Pillow would hand this one to a program.
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="none of JPEG, PNG"):
        open_picture(tmp_path / "program.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for length in range(0, len(whole) - 20, 7):  # without the end mark it is whole
        (tmp_path / "cut.png").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"picture .*cut\.png cannot be read"):
            open_picture(tmp_path / "cut.png")


def test_how_a_wide_picture_becomes_a_square(tmp_path: Path) -> None:
    """Red, lime and blue thirds of 12 x 4 pixels."""
    wide = Image.new("RGB", (12, 4))
    for third, colour in enumerate(("red", "lime", "blue")):
        wide.paste(colour, (4 * third, 0, 4 * third + 4, 4))
    wide.save(tmp_path / "wide.png")
    cut = read_image(tmp_path / "wide.png", 4, "crop")
    assert (cut == [0, 255, 0]).all()
    padded = read_image(tmp_path / "wide.png", 12, "pad")
    np.testing.assert_array_equal(padded[4:8], np.asarray(wide))
    assert (padded[:4] == 128).all() and (padded[8:] == 128).all()
    squashed = read_image(tmp_path / "wide.png", 3, "squash")
    assert squashed.shape == (3, 3, 3)
    assert squashed[1].argmax(axis=1).tolist() == [0, 1, 2]
    many = read_images([tmp_path / "wide.png"] * 2, 4, "crop")
    np.testing.assert_array_equal(many, np.stack([cut, cut]))


def test_a_square_is_the_same_in_every_way(tmp_path: Path, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "square.png")
    for size in (9, 5):
        cut, padded, squashed = (
            read_image(tmp_path / "square.png", size, fit) for fit in ("crop", "pad", "squash")
        )
        np.testing.assert_array_equal(cut, squashed)
        np.testing.assert_array_equal(padded, squashed)
    np.testing.assert_array_equal(read_image(tmp_path / "square.png", 9, "crop"), noise)


def test_names_stay_in_the_folder(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "data" / "stimuli", tmp_path / "elsewhere"
    (root / "cats").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "secret.png").touch()
    (root / "out.png").symlink_to(elsewhere / "secret.png")
    (root / "in.png").symlink_to(root / "cats" / "a.png")
    (root / "out").symlink_to(elsewhere)
    outside = (
        "../../elsewhere/secret.png", str(elsewhere / "secret.png"), "out.png", "out/secret.png",
        "cats/../../x.png", "..",
    )  # fmt: skip
    for name in outside:
        with pytest.raises(ValueError, match=r"lies outside the picture folder .* --stimuli"):
            picture_path(root, name)
    assert picture_path(root, "cats/a.png") == root / "cats" / "a.png"
    assert picture_path(root, "in.png") == root / "in.png"
    # A folder that is a link itself is the one that was named.
    (tmp_path / "link").symlink_to(root)
    assert picture_path(tmp_path / "link", "cats/a.png") == tmp_path / "link" / "cats" / "a.png"


def test_links_of_datalad_stay_in_the_data_set(tmp_path: Path) -> None:
    root = tmp_path / "stimuli"
    root.mkdir()
    (tmp_path / ".git" / "annex").mkdir(parents=True)
    (root / "a.png").symlink_to("../.git/annex/a.png")
    with pytest.raises(ValueError, match="outside the picture folder"):
        picture_path(root, "a.png")
    (tmp_path / "dataset_description.json").write_text("{}")
    assert picture_path(root, "a.png") == root / "a.png"
    with pytest.raises(ValueError, match="outside the picture folder"):
        picture_path(root, "../.git/annex/a.png")  # a link may lead there, a name may not


def test_whether_a_picture_is_square_is_read_from_its_header(tmp_path):
    for name, size in (("square", (8, 8)), ("wide", (9, 8))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert is_square(tmp_path / "square.png")
    assert not is_square(tmp_path / "wide.png")
    assert not is_square(tmp_path / "broken.png")
    assert not is_square(tmp_path / "absent.png")
