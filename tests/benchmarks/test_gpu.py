"""The GPU benchmark rehearsed on a CPU: the same code, tiny sizes; its limits; its page."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dreamdiffusion.models.encoders import eeg as encoder_module

ROOT = Path(__file__).parents[2]
RESULT = {
    "tiny": False,
    "parts": {
        "matrix": {"rows": [{"what": "bf16 matrix product", "tflops": 800.0, "device": "one GPU",
                             "torch": "2.11", "size": 8192}]},
        "msm": {"rows": [
            {"what": "MSM step", "way": "ours", "batch": 100, "tflop": 200.0, "seconds": 0.5,
             "peak_gb": 11.5},
            {"what": "MSM step", "way": "plain fp32", "batch": 100, "seconds": 2.0, "peak_gb": 40},
        ], "not_whole": "cut at its limit of 80 s"},
        "sampling": {"rows": [{"what": "images", "evaluations": 4, "batch": 16, "seconds": 1.6,
                               "seconds_an_image": 0.1, "peak_gb": 9.0}]},
        "reader": {"rows": [{"what": "reader", "batch": 1000, "seconds": 60.0, "peak_gb": 2.0,
                             "from_steps": "from the first 300 of 662 steps"}]},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    path = ROOT / "benchmarks" / "gpu.py"
    sys.path.insert(0, str(path.parent))  # it shares pieces with schedule.py
    try:
        spec = importlib.util.spec_from_file_location("benchmark_gpu", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(path.parent))


@pytest.mark.global_rng
@pytest.mark.parametrize("part", ["matrix", "msm", "finetune", "memory", "sampling", "reader"])
def test_every_part_is_rehearsed(gpu, part):
    own = encoder_module.Attention
    rows = list(gpu.PARTS[part](True))
    assert encoder_module.Attention is own  # the plain schedule's is not left behind
    expected = {"matrix": 1, "msm": 3, "finetune": 2, "memory": 2, "sampling": 6, "reader": 1}
    assert len(rows) == expected[part]
    assert not [row for row in rows if "failed" in row]
    assert all(row.get("seconds", row.get("tflops")) > 0 for row in rows)


def test_a_part_that_overruns_is_cut_and_keeps_what_it_has(gpu, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(
        "import time\nprint('{\"what\": \"one\"}', flush=True)\nprint('noise')\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(child))
    monkeypatch.setattr(gpu, "LIMITS", dict.fromkeys(gpu.LIMITS, 3))
    path = gpu.run(tmp_path / "out", tiny=True, seconds=4, only=["matrix", "msm"])
    parts = json.loads(path.read_text("utf-8"))["parts"]
    assert parts["matrix"]["rows"] == [{"what": "one"}]
    assert parts["matrix"]["not_whole"] == "cut at its limit of 3 s"
    assert parts["msm"]["not_whole"].startswith(("no time was left", "cut at its limit of 1 s"))


def test_a_part_that_fails_says_so(gpu, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(gpu, "__file__", str(child))
    path = gpu.run(tmp_path / "out", tiny=True, seconds=60, only=["matrix"])
    assert (
        json.loads(path.read_text("utf-8"))["parts"]["matrix"]["not_whole"] == "ended with code 3"
    )


def test_the_limits_fit_the_time_that_a_gpu_is_lent_for(gpu):
    assert sum(gpu.LIMITS.values()) <= 360
    assert set(gpu.LIMITS) == set(gpu.PARTS)


def test_the_page_gets_the_figures_and_no_rehearsal(gpu, tmp_path):
    page, figures = tmp_path / "performance.md", tmp_path / "gpu.json"
    page.write_text(f"before\n{gpu.START}\nold\n{gpu.END}\nafter\n")
    figures.write_text(json.dumps(RESULT))
    gpu.write_page(figures, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| bf16 matrix product |  |  |  |  | 800 Tflop/s on one GPU, torch 2.11 |" in text
    assert "| MSM step | ours | 100 | 0.500 | 11.5 | 50 % of the matrix rate |" in text
    assert "| MSM step | plain fp32 | 100 | 2.000 | 40 | ours is 4.00 times faster |" in text
    assert "4 evaluations: 0.100 s an image" in text
    assert "| reader |  | 1000 | 60.000 | 2.0 | from the first 300 of 662 steps |" in text
    assert "msm: cut at its limit of 80 s." in text
    gpu.write_page(figures, page)  # again, in place
    assert page.read_text() == text
    figures.write_text(json.dumps(RESULT | {"tiny": True}))
    with pytest.raises(ValueError, match="a rehearsal"):
        gpu.write_page(figures, page)
    assert gpu.START in gpu.PAGE.read_text("utf-8")
