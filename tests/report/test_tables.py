"""Tables of the report in a browser: whole on a desk, scrolled beside their names on a phone."""

from __future__ import annotations

import pytest
import score_records as records
from browser import BROWSER, opened

from dreamdiffusion.report.page import write_report

pytest.importorskip("websockets")

WIDTHS = "[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth)"
SCROLLED = """(() => { const box = document.querySelector('.scroll'); box.scrollLeft = 10000;
const name = box.querySelector('td:first-child').getBoundingClientRect();
return [box.scrollLeft, name.left - box.getBoundingClientRect().left, name.width] })()"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_no_column_is_cut_on_a_desk_and_names_stay_on_a_phone(tmp_path):
    scores = records.full()
    images, seen = records.pictures(len(scores.trials["category"]), 4, 16)
    page = write_report(tmp_path / "report.html", scores, images, seen)
    with opened(page.as_uri(), tmp_path, width=1280) as browser:
        assert browser.run("document.querySelectorAll('.scroll').length") > 3
        assert max(browser.run(WIDTHS)) == 0
        browser.size(390, 900)
        scrolled, left, width = browser.run(SCROLLED)
        assert scrolled > 100
        assert (left, width > 60, width < 180) == (0, True, True)
