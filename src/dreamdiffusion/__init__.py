"""DreamDiffusion: images of what a person was looking at, from EEG (arXiv 2306.16934).

What is offered here is the public interface; everything below may move. A name is imported when it
is first used, so that ``import dreamdiffusion`` takes neither torch nor time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dreamdiffusion.datasets.registry import load_dataset
    from dreamdiffusion.datasets.simulation.bids import simulate
    from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
    from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
    from dreamdiffusion.decoders.fit import decode, fit
    from dreamdiffusion.decoders.registry import registry as decoders
    from dreamdiffusion.evaluation.evaluate import evaluate
    from dreamdiffusion.evaluation.scoring import score_images
    from dreamdiffusion.evidence.audit.run import audit_trials as audit
    from dreamdiffusion.evidence.scores import Scores
    from dreamdiffusion.models.encoders.eeg import EEGEncoder
    from dreamdiffusion.models.encoders.pretrain import pretrain
    from dreamdiffusion.models.encoders.processor import EEGProcessor
    from dreamdiffusion.recordings.read import read_recording
    from dreamdiffusion.recordings.recording import Recording
    from dreamdiffusion.report.page import write_report
    from dreamdiffusion.trials.cut import cut_trials
    from dreamdiffusion.trials.preprocessing import preprocess
    from dreamdiffusion.trials.splits import split_by
    from dreamdiffusion.trials.trials import Trials

# Public name -> where it lives; a module where nothing of it is named.
_HOMES = {
    "EEGConditioner": "decoders.dreamdiffusion.condition:EEGConditioner",
    "EEGEncoder": "models.encoders.eeg:EEGEncoder",
    "EEGProcessor": "models.encoders.processor:EEGProcessor",
    "EEGToImagePipeline": "decoders.dreamdiffusion.pipeline:EEGToImagePipeline",
    "Recording": "recordings.recording:Recording",
    "Scores": "evidence.scores:Scores",
    "Trials": "trials.trials:Trials",
    "audit": "evidence.audit.run:audit_trials",
    "cut_trials": "trials.cut:cut_trials",
    "decode": "decoders.fit:decode",
    "decoders": "decoders",
    "fit": "decoders.fit:fit",
    "evaluate": "evaluation.evaluate:evaluate",
    "load_dataset": "datasets.registry:load_dataset",
    "preprocess": "trials.preprocessing:preprocess",
    "pretrain": "models.encoders.pretrain:pretrain",
    "read_recording": "recordings.read:read_recording",
    "score_images": "evaluation.scoring:score_images",
    "simulate": "datasets.simulation.bids:simulate",
    "split_by": "trials.splits:split_by",
    "write_report": "report.page:write_report",
}
__all__ = [
    "EEGConditioner",
    "EEGEncoder",
    "EEGProcessor",
    "EEGToImagePipeline",
    "Recording",
    "Scores",
    "Trials",
    "__version__",
    "audit",
    "cut_trials",
    "decode",
    "decoders",
    "evaluate",
    "fit",
    "load_dataset",
    "preprocess",
    "pretrain",
    "read_recording",
    "score_images",
    "simulate",
    "split_by",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "ModelMixin":  # diffusers looks for the base class beside a saved class
        from diffusers.models.modeling_utils import ModelMixin

        return ModelMixin
    if name not in _HOMES:
        raise AttributeError(f"module 'dreamdiffusion' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value: Any = importlib.import_module(f"dreamdiffusion.{module}")
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
