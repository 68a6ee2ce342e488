"""The page under many people at once, rehearsed: nothing is drawn, seconds instead of minutes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

SECONDS = 6.0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_people_at_once(tmp_path):
    path = Path(__file__).parents[2] / "benchmarks" / "app.py"
    spec = importlib.util.spec_from_file_location("benchmark_app", path)
    assert spec is not None and spec.loader is not None
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    bench.ASK_S = bench.WORK_S = 0.05
    with bench.page_alone(tmp_path) as (place, pid, uploads, recording):
        found = bench.load(place, 50, SECONDS, recording, uploads, lambda: bench.resident_mb(pid))
    assert found["errors"] == {}
    assert found["queue_full"] == 0
    assert found["pictures"] > 20
    assert found["uploads_left"] == 0
    first, *_, last = found["largest_memory_mb_by_quarter"]
    assert last < first + 100  # 1.7 MB a job would be far more, were they kept
