"""Schemas of grids of runs; importing this module must stay cheap."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from dreamdiffusion.files.schema import Schema


class AblateRow(Schema):
    """One row of a grid: what differs from its base, and what the paper found."""

    name: str = "full"
    changes: dict[str, Any] = Field(
        default_factory=dict,
        description="dotted keys (pretrain.mask_ratio, fit.n_pairs, evaluate.limit), fit.decoder "
        "among them; encoder.embed_dim sets pretrain's and fit's; pretrain: false leaves it out",
    )
    paper: float | None = Field(default=None, description="%, what the paper gives for this row")


class AblateClaim(Schema):
    """What the rows of a grid are expected to show; one of `order` and `middle`."""

    text: str = ""
    order: list[str] = Field(default_factory=list, description="rows, the best first")
    middle: list[str] = Field(
        default_factory=list,
        description="rows in the order of a setting, the best of which is neither first nor last",
    )


class AblateConfig(Schema):
    """A grid over decoders and their settings: rows x seeds, one table, one figure."""

    output: Path = Path("runs/ablate")
    pretrain: dict[str, Any] | None = Field(
        default=None,
        description="settings of pretrain, `config` names a YAML file below them; empty: every "
        "seed starts from what fit.pretrained names",
    )
    fit: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of fit, likewise; `decoder` names the decoder; empty: prior",
    )
    evaluate: dict[str, Any] = Field(
        default_factory=dict, description="settings of evaluate, likewise"
    )
    rows: list[AblateRow] = Field(default=[AblateRow()], description="what is compared")
    seeds: list[int] = Field(default=[0, 1, 2], description="of each row, in all stages")
    claims: list[AblateClaim] = Field(
        default_factory=list, description="expectations that are checked"
    )
    metrics: list[Literal["category_top1", "color_top1"]] = Field(
        default=["category_top1"],
        min_length=1,
        description="one table for each; of the images, or of the labels of decoders without",
    )
    part: str | None = Field(
        default=None, description="3/14 runs the third of fourteen shares, and writes no table"
    )
    table: bool = Field(default=False, description="run nothing, collect what is there")

    @model_validator(mode="after")
    def _names_fit(self) -> AblateConfig:
        names = [row.name for row in self.rows]
        for what, values in (("rows", names), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"{what} is empty, expected one or more")
            if len(set(values)) < len(values):
                raise ValueError(f"{what} holds one twice: {', '.join(map(str, values))}")
        for claim in self.claims:
            if bool(claim.order) == bool(claim.middle):
                raise ValueError(f"claim {claim.text!r} needs one of order and middle")
            if len(claim.order or claim.middle[1:]) < 2:
                raise ValueError(f"claim {claim.text!r} names too few rows to compare")
            unknown = sorted({*claim.order, *claim.middle} - set(names))
            if unknown:
                raise ValueError(
                    f"claim {claim.text!r} names row {', '.join(unknown)}; there are "
                    f"{', '.join(names)}"
                )
        return self
