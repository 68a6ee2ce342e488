"""The generator of a decoder is opened when it is first needed, by one thread at a time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.models.generator.draw import PromptedGenerator


class Opened:
    """In place of a generator."""

    precision = ""

    def to(self, device: Any) -> Opened:
        return self


def test_two_threads_open_their_generators_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opening, most = 0, 0

    def open_slowly(folder: Path) -> Opened:
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        time.sleep(0.1)
        opening -= 1
        return Opened()

    monkeypatch.setattr(PromptedGenerator, "from_pretrained", open_slowly)
    decoders = []
    for _ in range(2):
        decoder = Prior.__new__(Prior)
        decoder.generator = Path("somewhere")
        decoder.__post_init__()
        decoders.append(decoder)
    threads = [threading.Thread(target=lambda one=one: one.opened) for one in decoders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert decoders[0].opened is not decoders[1].opened
