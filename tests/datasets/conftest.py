"""What several contract tests of the public data sets need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import published
import pytest

WRITERS: dict[str, Callable[[Path], None]] = {
    "imagenet-eeg": published.write_imagenet_eeg,
    "things-eeg1": published.write_things_eeg1,
    "things-eeg2": published.write_things_eeg2,
    "alljoined-1.6m": published.write_alljoined,
    "eeg-imagenet": published.write_eeg_imagenet,
    "kaneshiro2015": published.write_kaneshiro2015,
    "muse-n170": published.write_muse_n170,
    "muse-gratings": published.write_muse_gratings,
    "bids": published.write_bids,
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a data set as it is published and return its folder; MOABB brings its own."""

    def write(name: str) -> Path:
        root = tmp_path / "data"
        root.mkdir()
        if name.startswith("moabb"):
            published.pretend_moabb(monkeypatch)
        else:
            WRITERS[name](root)
        return root

    return write
