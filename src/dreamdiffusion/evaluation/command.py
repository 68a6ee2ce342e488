"""The command `evaluate_command`: scores and report in a folder."""

from __future__ import annotations

from pathlib import Path

from dreamdiffusion.evaluation import evaluate as stage
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.files.output import writes_output


@writes_output()
def evaluate_command(config: EvaluateConfig) -> Path:
    """Evaluate into ``config.output``, as `evaluate.evaluate` does, and return that folder."""
    stage.evaluate(config.model_copy(update={"output": config.output}))
    return config.output
