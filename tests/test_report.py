"""The gallery and the report."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from dreamdiffusion.gallery import RIGHT, WRONG, draw_gallery, save_gallery, to_picture
from dreamdiffusion.report import banner, number, write_report
from dreamdiffusion.report_parts import confusion_svg, track


def record(metric="category_top1", **changes):
    return {
        "metric": metric, "value": 0.5, "n": 6, "chance": 0.25,
        "controls": {"shuffled_eeg": {"value": 0.2}},
        "ci95": [0.4, 0.6], "p": 0.0005, **changes,
    }  # fmt: skip


def result(n=6, k=4, simulated=True, level=0.35, **changes):
    names = ["cup", "fish", "<b>owl</b>"]
    shown = [names[i % 2] for i in range(n)]
    return {
        "split": "test: run 8", "simulated": simulated, "noise_level": level,
        "scores": [record(), record("ssim", value=-0.1, chance=-0.2, ci95=[-0.2, 0.0])],
        "not_scored": {"color_top1": "the data have no colours"},
        "protocol": {"samples": "4 images per trial", "category_top1": "3-way top-1"},
        "judge": {"trained_on": "drawn scenes", "category_accuracy_on_seen": 0.99},
        "confusion": {"names": names, "counts": [[8, 2, 2], [0, 12, 0], [0, 0, 0]]},
        "trials": {"category": shown, "judged_category": [["cup"] * k for _ in range(n)]},
        "made": {"command": "dreamdiffusion evaluate", "config": {"a": 1}, "versions": {"x": "1"}},
        **changes,
    }  # fmt: skip


def images(n=6, k=4, size=16):
    g = torch.Generator().manual_seed(0)
    return torch.rand(n, k, 3, size, size, generator=g), torch.rand(n, 3, size, size, generator=g)


def test_report_stands_alone(tmp_path):
    generated, seen = images()
    page = write_report(tmp_path / "report.html", result(), generated, seen).read_text("utf-8")
    text = re.sub(r'src="data:[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", text)
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 6 * 5
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert '<meta name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0].split(",")[1])))
    assert picture.size == (16, 16)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(to_picture(seen[0])))


def test_report_says_the_numbers_and_escapes_names(tmp_path):
    generated, seen = images()
    page = write_report(tmp_path / "report.html", result(), generated, seen).read_text("utf-8")
    assert "50.0<small>%</small>" in page
    assert "above chance (p&nbsp;=&nbsp;0.0005)" in page
    assert "decoded from shuffled EEG" in page
    assert "the data have no colours" in page
    assert "<b>owl</b>" not in page
    assert page.count("&#10003;&nbsp;cup") == 3 * 4
    assert page.count("&#10007;&nbsp;cup") == 3 * 4
    assert "99.0 % right on the pictures that were seen" in page


def test_report_says_when_there_is_nothing(tmp_path):
    generated, seen = images()
    nothing = result(scores=[record(p=0.4, ci95=[0.1, 0.6])])
    page = write_report(tmp_path / "report.html", nothing, generated, seen).read_text("utf-8")
    assert "<b>not above chance</b>" in page


def test_report_shows_the_first_trials_only(tmp_path):
    generated, seen = images()
    page = write_report(tmp_path / "r.html", result(), generated, seen, 2).read_text("utf-8")
    assert page.count('class="trial"') == 2
    assert "The first 2 trials of the split, in order: not picked" in page


def test_report_without_pictures_seen(tmp_path):
    generated, _ = images()
    page = write_report(tmp_path / "report.html", result(), generated).read_text("utf-8")
    assert page.count("<img") == 6 * 4
    assert "the picture is not recorded, only: cup" in page


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (0.35, "SIMULATED EEG, noise level 0.35, far easier than life"),
        ([0.2, 1.0], "SIMULATED EEG, noise level 0.2, 1, far easier than life"),
        (1.0, "SIMULATED EEG, noise level 1, as noisy as life is thought to be"),
        (None, "SIMULATED EEG, noise level not stated, far easier than life"),
    ],
)
def test_banner_of_simulated_eeg(level, words):
    assert words in banner(result(level=level))


def test_no_banner_for_real_eeg(tmp_path):
    assert banner(result(simulated=False, level=None)) == ""
    generated, seen = images()
    page = write_report(
        tmp_path / "r.html", result(simulated=False, level=None), generated, seen
    ).read_text("utf-8")
    assert "imulated" not in page
    assert "SIMULATED" not in page


def test_numbers():
    assert number("category_top1", 0.4567) == "45.7&nbsp;%"
    assert number("pcc", -0.05) == "-0.050"


def test_track_places_the_score():
    drawn = track(record(value=0.5, chance=0.0, controls={"shuffled_eeg": {"value": 1.0}}))
    assert 'cx="240.0"' in drawn  # the middle of 8..472
    assert 'x1="8.0" x2="8.0"' in drawn  # chance at the left end
    assert 'cx="472.0"' in drawn
    assert "nan" not in track(record(value=-0.5, ci95=[-0.6, -0.4]))


def test_confusion_leaves_out_what_was_not_shown():
    drawn = confusion_svg(["cup", "fish", "owl"], [[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    assert drawn.count("<rect") == 4
    assert "shown cup, named fish: 1 of 4" in drawn
    assert "owl" not in drawn
    assert "/ 0.765)" in drawn  # 0.06 + 0.94 * 3 / 4


def test_gallery_size_and_content(tmp_path):
    generated, seen = images(n=5, size=32)
    seen[0] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    generated[0, 0] = torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1)
    named = [["cup", "fish", "cup", "cup"]] * 5
    drawn = draw_gallery(generated, ["cup"] * 5, named, seen, n_rows=2, n_blocks=2)
    # Two blocks of 5 tiles of 112 px, gaps of 14 and 3 x 4, 36 between, margins of 20.
    assert drawn.size == (2 * 20 + 2 * (5 * 112 + 14 + 12) + 36, 2 * 20 + 20 + 2 * (112 + 27))
    assert drawn.getpixel((60, 80)) == (255, 0, 0)
    assert drawn.getpixel((20 + 112 + 14 + 50, 80)) == (0, 0, 255)
    colors = {color for _, color in drawn.getcolors(10**6)}
    assert {RIGHT, WRONG} <= colors
    path = save_gallery(tmp_path / "gallery.png", drawn)
    with Image.open(path) as again:
        assert again.size == drawn.size
        assert again.format == "PNG"


def test_gallery_without_pictures_seen():
    generated, _ = images(n=1, k=2)
    drawn = draw_gallery(generated, ["face"], [["face", "house"]], title="Decoded")
    assert drawn.size == (2 * 20 + 3 * 112 + 14 + 4, 2 * 20 + 30 + 20 + 112 + 27)
    with pytest.raises(ValueError, match="1 trials of images, 2 categories"):
        draw_gallery(generated, ["face", "face"], [["face", "house"]])


def test_to_picture_rounds():
    pixels = np.asarray(to_picture(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1)))
    assert pixels.ravel().tolist() == [0, 128, 255]
    assert to_picture(torch.zeros(3, 4, 4), 10).size == (10, 10)
