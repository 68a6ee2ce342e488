"""The page under many people at once, rehearsed: a stub-sized model, seconds instead of minutes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from pages import served

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dreamdiffusion.cli.app.jobs import Jobs, Order, Tell
from dreamdiffusion.cli.app.pages import About
from dreamdiffusion.cli.app.server import AppPage
from dreamdiffusion.cli.app.uploads import Uploads

SECONDS = 6.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_people_at_once(tmp_path):
    path = Path(__file__).parents[2] / "benchmarks" / "app.py"
    spec = importlib.util.spec_from_file_location("benchmark_app", path)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.ASK_S = 0.2
    recording = bytes(200_000)

    def work(order: Order, tell: Tell) -> str:
        if order.upload is not None and order.upload.read_bytes() != recording:
            raise ValueError(f"{order.upload} is no recording")
        return "x" * 500_000

    (tmp_path / "uploads").mkdir()
    jobs = Jobs(work, most=64, keep_s=60)
    page = AppPage(
        [About("known", "", "")], [About("m", "", "")], jobs,
        Uploads(tmp_path / "uploads", 1.0), None,
    )  # fmt: skip
    with served(page.app()) as place:
        found = bench.load(
            place, 50, SECONDS, recording, tmp_path / "uploads",
            lambda: bench.resident_mb(os.getpid()),
        )  # fmt: skip
    assert found["errors"] == {}
    assert found["queue_full"] == 0
    assert found["pictures"] > 50
    assert found["refused_as_they_should"] > 0
    assert found["uploads_left"] == 0
    assert len(jobs) == 0
    first, *_, last = found["largest_memory_mb_by_quarter"]
    assert last < first + 100  # 0.7 MB a job would be far more, were they kept
    jobs.close()
