"""The measurements of `live`: how memory grows, and sessions too short to tell."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from script import load_script

live = load_script("benchmarks/live.py")


def test_growth_by_hand():
    slope, error = live.growth(np.array([[0, 10.0], [60, 11.0], [120, 15.0]]))
    assert slope == pytest.approx(2.5)
    assert error == pytest.approx(np.sqrt(1.5 / 2))  # residuals 1/2, -1, 1/2; one degree; sum 2


@pytest.mark.parametrize("what", ["loopback", "memory"])
def test_a_session_too_short_for_three_looks_is_refused_before_it_runs(monkeypatch, capsys, what):
    monkeypatch.setattr(sys, "argv", ["live.py", what, "--seconds", "20"])
    monkeypatch.setattr(live, what, lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stop:
        live.main()
    assert stop.value.code == 2
    assert "--seconds is 20, expected 45 at least" in capsys.readouterr().err
