"""The registry of controls: one complete record of each."""

from __future__ import annotations

import re
from typing import get_args

from dreamdiffusion.evidence.controls import CONTROLS, ControlKind, controls_of_kind


def test_every_control_is_one_complete_record() -> None:
    for name, control in CONTROLS.items():
        assert control.name == name
        assert re.fullmatch("[a-z_]+", name)
        assert control.description and control.label and control.short_label
        assert len(control.short_label) <= 8  # a mark in a figure
    assert len({control.label for control in CONTROLS.values()}) == len(CONTROLS)


def test_each_control_is_of_one_kind() -> None:
    kinds = [controls_of_kind(kind) for kind in get_args(ControlKind)]
    assert sorted(name for kind in kinds for name in kind) == sorted(CONTROLS)
    assert kinds[0][0] == "shuffled_eeg"  # the one that is always drawn
    assert kinds[2:] == [["time_removed_eeg"], ["posterior_draws", "bank_picture"]]
