"""The settings of a reader: at which rate it learns, from which start."""

from __future__ import annotations

from pathlib import Path

import pytest

from dreamdiffusion.cli.options import load_config, parse
from dreamdiffusion.decoders.config import CaptionConfig, PriorConfig, ReaderConfig

COMMANDS = {"reader": ReaderConfig, "prior": PriorConfig, "caption": CaptionConfig}


@pytest.mark.parametrize("command", COMMANDS)
def test_trained_weights_are_moved_gently_unless_a_rate_is_given(command: str) -> None:
    def rate(*flags: str) -> float:
        config, _ = parse(COMMANDS[command], flags, f"dreamdiffusion fit {command}")
        assert isinstance(config, ReaderConfig)
        return config.optim.lr

    assert rate() == 2e-3
    assert rate("--init", "somebody") == 1e-4
    assert rate("--init", "somebody", "--optim.warmup_steps", "7") == 1e-4
    assert rate("--init", "somebody", "--optim.lr", "5e-4") == 5e-4
    assert rate("--init", "somebody", "--optim.lr", "2e-3") == 2e-3


def test_a_rate_in_a_file_is_given(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("init: somebody\noptim: {lr: 2.0e-3}\n", encoding="utf-8")
    config, _ = parse(ReaderConfig, ["--config", str(file)], "dreamdiffusion fit reader")
    assert isinstance(config, ReaderConfig)
    assert config.optim.lr == 2e-3


def test_keywords_are_moved_gently_too() -> None:
    assert ReaderConfig(init=Path("somebody")).optim.lr == 1e-4
    config = ReaderConfig(optim={"warmup_steps": 7})  # type: ignore[arg-type]
    assert config.optim.lr == 2e-3
    config.init = Path("somebody")
    assert (config.optim.lr, config.optim.warmup_steps) == (1e-4, 7)


def test_what_a_file_does_not_name_of_the_optimiser_stays_the_reader_s(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("optim: {lr: 1.0e-3}\n", encoding="utf-8")
    config = load_config(ReaderConfig, file)
    assert isinstance(config, ReaderConfig)
    expected = ReaderConfig().optim.model_dump() | {"lr": 1e-3}
    assert config.optim.model_dump() == expected
    assert (config.optim.weight_decay, config.optim.betas) == (0.5, (0.9, 0.99))
