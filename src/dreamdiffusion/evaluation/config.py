"""Schemas of the stages that score, beside `config`; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.evidence.controls import CONTROLS
from dreamdiffusion.files.schema import Schema, Weights
from dreamdiffusion.training.config import RuntimeConfig


def _known_control(name: str) -> str:
    if name not in CONTROLS:
        raise ValueError(f"control {name!r} is unknown; known: {', '.join(CONTROLS)}")
    return name


ControlName = Annotated[str, AfterValidator(_known_control)]
DRAWN = [
    control.name
    for control in CONTROLS.values()
    if control.kind != "without_time" and control.name != "shuffled_eeg"
]
"""Drawn by default; time_removed_eeg joins them where the audit suspects time."""


class ImageJudgesConfig(Schema):
    """The networks behind the published metrics, by metric; the defaults are the papers' own.

    A source is a folder or hub id of transformers, ``torchvision:NAME``, ``torchvision:NAME/LAYER``
    or ``lpips:alex``; all but those of transformers need the extra ``judges``. A mapping that is
    given replaces the default one.
    """

    two_way: dict[str, str] = Field(
        default={
            "alexnet_2": "torchvision:alexnet/features.4",
            "alexnet_5": "torchvision:alexnet/features.11",
            "inception": "torchvision:inception_v3/avgpool",
            "clip": "openai/clip-vit-large-patch14",
        },
        description="suite nsd: name -> network whose features identify the picture",
    )
    distance: dict[str, str] = Field(
        default={
            "effnet_b1": "torchvision:efficientnet_b1/avgpool",
            "swav": "torchvision:swav_resnet50/avgpool",
        },
        description="suite nsd: name -> network whose features are correlated",
    )
    perceptual: str | None = Field(default="lpips:alex", description="suite pairwise: LPIPS")
    distribution: str | None = Field(
        default="torchvision:inception_v3/avgpool",
        description="suite distribution: features of FID and KID, classes of the Inception score",
    )
    classifier: str | None = Field(
        default="torchvision:vit_h_14", description="suite n_way: names what a picture shows"
    )


class EvaluateConfig(Schema):
    """Scores with chance, shuffled-EEG control, interval and p, and a report."""

    model: Weights = Field(
        default=Path("runs/prior/model"), description="folder of a decoder that gives images"
    )
    data: Path = Field(
        default=Path("runs/trials"), description="folder written by prepare, kind trials"
    )
    judge: Weights | None = Field(
        default=Path("weights/judge"),
        validate_default=True,
        description="classifier that names pictures; None: score what needs none",
    )
    output: Path = Path("runs/evaluate")
    split: Literal["train", "validation", "test", "new"] = Field(
        default="test",
        description="new: another recording, no trial of which the model was trained on",
    )
    folds: list[Weights] = Field(
        default_factory=list,
        description="further models, fine-tuned with other trials of the same data held out; all "
        "held-out trials are scored together",
    )
    limit: int | None = Field(default=None, description="number of trials at most, of each model")
    controls: list[ControlName] = Field(
        default=DRAWN,
        description="drawn beside shuffled EEG, which always is; posterior_draws and bank_picture "
        "by decoders that have a bank",
    )
    images_per_control: PositiveInt = 1
    label_prompt: str = Field(
        default="a {category}", description="what the control label_only draws"
    )
    protocol: str | None = Field(
        default=None,
        description="name (protocols list) or YAML file of the protocol that this has to follow",
    )
    suites: list[Literal["nsd", "pairwise", "distribution", "n_way"]] = Field(
        default=[], description="published metrics to add, see docs/metrics.md"
    )
    image_judges: ImageJudgesConfig = ImageJudgesConfig()
    n_way: PositiveInt = Field(default=50, description="suite n_way: classes to choose from")
    n_way_top: PositiveInt = Field(default=1, description="suite n_way: right if among so many")
    batch_size: PositiveInt = 16
    n_permutations: PositiveInt = 2000
    n_bootstrap: PositiveInt = 2000
    confidence: bool = Field(
        default=True,
        description="probability that each trial is right; decodes the validation trials too",
    )
    risk_limit: float = Field(
        default=0.2, gt=0, lt=1, description="share of wrong categories among the answers kept"
    )
    occlusion: bool = Field(
        default=True, description="cover channels and times to see what the model uses"
    )
    sample: SampleConfig = SampleConfig()
    runtime: RuntimeConfig = RuntimeConfig()
