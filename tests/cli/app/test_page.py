"""The page in a headless browser: with a mouse, with keys alone, on a phone, with hostile names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import BROWSER, Page, opened
from pages import served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dreamdiffusion.cli.app.figures import Plot
from dreamdiffusion.cli.app.jobs import Jobs, Order, Tell
from dreamdiffusion.cli.app.pages import About, Dial, Moment, Row, fill
from dreamdiffusion.cli.app.server import AppPage
from dreamdiffusion.cli.app.uploads import Uploads
from dreamdiffusion.cli.app.verdict import Verdict

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium browser on this machine")

RUNS = "document.documentElement.id='ran'"
HOSTILE = f'"\'><script>{RUNS}</script><img src=x onerror="{RUNS}">'


def result(order: Order) -> str:
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    return fill(
        "result", title=order.name or order.sample, simulated=True,
        verdict=Verdict("chance", "No better than chance.", HOSTILE),
        moments=[Moment(1.0, HOSTILE, [Row("EEG", HOSTILE, [pixel] * 4)], "sure")],
        text=order.text, text_images=[pixel] if order.text else [],
        figures=[Plot(pixel, HOSTILE, HOSTILE)], facts={HOSTILE: "x" * 500}, width=128,
    )  # fmt: skip


class App:
    place = ""

    def __init__(self, folder: Path) -> None:
        self.folder, self.orders = folder, []
        self.jobs = Jobs([self.work], most=4, keep_s=60)
        dial = Dial("strength", "How much", "little", "much", 0.0, 1.0, 0.5)
        self.app = AppPage(
            [About("known", "Somebody", HOSTILE)],
            [About("m", "m.", HOSTILE, dial), About("n", "n.", "")],
            self.jobs, Uploads(folder, 1.0), None,
        ).app()  # fmt: skip

    def work(self, order: Order, tell: Tell) -> str:
        self.orders.append(order)
        tell("Drawing the images.")
        if order.sample != "known" and order.upload is not None and order.upload.stat().st_size < 3:
            raise ValueError(f"{order.upload} is cut off; copy it again")
        return result(order)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    (tmp_path / "uploads").mkdir()
    made = App(tmp_path / "uploads")
    with served(made.app) as made.place:
        yield made
    made.jobs.close()


def give_file(page: Page, path: Path) -> None:
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    node = page.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)


def check_whole(page: Page) -> None:
    """Nothing overflows, nothing of a name ran, every picture and field has its words."""
    assert page.run("document.documentElement.id") == ""
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    assert page.run("[...document.images].every((image) => image.alt.length > 0)")
    assert page.run(
        "[...document.querySelectorAll('input')].every((input) => input.labels.length > 0)"
    )
    assert [one for one in page.messages if "favicon" not in one] == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_three_steps_to_a_picture(app, tmp_path, width, height):
    with opened(f"http://{app.place}/", tmp_path, width, height) as page:
        check_whole(page)
        page.click("#go")
        page.wait("document.querySelectorAll('#result article').length")
        check_whole(page)
        assert page.run("document.activeElement.id") == "result"
        assert page.run("document.getElementById('status').textContent") == "The picture is drawn."
        assert "No better than chance" in page.run("document.getElementById('result').innerText")
        file = tmp_path / "brain <b>.edf"
        file.write_bytes(b"12")
        give_file(page, file)
        assert page.run("document.getElementById('own').checked")
        page.click("#go")
        page.wait("document.getElementById('error').textContent")
        assert page.run("document.getElementById('error').textContent") == (
            "brain <b>.edf is cut off; copy it again"
        )
        check_whole(page)
        file.write_bytes(bytes(2_000_000))
        give_file(page, file)
        page.click("#go")
        page.wait("document.getElementById('error').textContent.includes('at most 1 MB')")
    assert [(one.sample, one.name, one.dial) for one in app.orders] == [
        ("known", "", 0.5), ("", "brain <b>.edf", 0.5),
    ]  # fmt: skip
    assert list(app.folder.iterdir()) == []


def test_with_keys_alone(app, tmp_path):
    with opened(f"http://{app.place}/", tmp_path) as page:
        focused = []
        for _ in range(12):
            page.press("Tab", 9)
            focused.append(page.run("document.activeElement.id || document.activeElement.name"))
            if focused[-1] == "go":
                break
        assert focused[0] == ""  # the link that skips to the picture
        assert {"recording", "file", "model", "moments", "go"} <= set(focused)
        page.press("Enter", 13)
        page.wait("document.querySelectorAll('#result article').length")
        tree = json.dumps(page.call("Accessibility.getFullAXTree"))
        for role in ("radio", "spinbutton", "heading", "status", "alert"):
            assert f'"{role}"' in tree


def test_the_dial_is_that_of_the_model(app, tmp_path):
    with opened(f"http://{app.place}/", tmp_path) as page:
        page.run("document.querySelector('details').open = true")
        assert page.run("document.getElementById('dial-label').textContent") == "How much"
        page.run("document.querySelector('input[value=n]').click()")
        assert page.run("document.getElementById('dial-row').hidden")
        page.run("document.getElementById('text').value = 'a red apple'")
        page.click("#go")
        page.wait("document.querySelectorAll('#result article').length === 2")
    assert (app.orders[0].dial, app.orders[0].text) == (None, "a red apple")
