"""The grid of an ablation: rows x seeds, each resolved to the stages that it runs.

A row says what it changes in dotted keys. Pre-trainings live in folders named by the hash of their
configuration, so that rows which need the same one share it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from dreamdiffusion.decoders.config import FitConfig, SampleConfig
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.files.schema import Schema, read_yaml
from dreamdiffusion.files.shipped import find_config
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.studies.config import AblateConfig, AblateRow

STAGES = ("pretrain", "fit", "evaluate")
DEFAULT = "prior"
"""The decoder where none is named, as of the command `fit`."""
BOTH = {"encoder": ("pretrain", "fit")}
"""First words of keys that change more than one stage alike."""
OWN = {
    "pretrain": {"output", "seed"},
    "fit": {"output", "seed"},
    "evaluate": {"output", "model", "sample.seed"},
}
"""What the grid itself sets."""

AnySchema = TypeVar("AnySchema", bound=Schema)


@dataclass(frozen=True)
class Cell:
    """One row with one seed: what it runs, and where."""

    row: str
    seed: int
    pretrain: PretrainConfig | None
    """None: no pre-training, or one that is not part of the grid."""
    decoder: str
    fit: FitConfig
    evaluate: EvaluateConfig

    @property
    def name(self) -> str:
        """Row and seed, for messages."""
        return f"{self.row}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Of the fitted decoder, with the evaluation's folder inside."""
        return self.fit.output

    @property
    def draws(self) -> bool:
        """Whether the decoder gives images, which are scored then; else its labels are."""
        return "images" in registry[self.decoder].gives

    @property
    def scores(self) -> Path:
        """What the evaluation writes: ``scores.json`` of images, ``labels.json`` of labels."""
        return self.folder / "evaluate" / ("scores.json" if self.draws else "labels.json")


def expand(config: AblateConfig) -> list[Cell]:
    """Resolve every row with every seed, rows first to last, seeds within a row.

    Raises
    ------
    FileNotFoundError
        If the YAML file of a base does not exist.
    ValueError
        If a row changes what is not there or what the grid itself sets, a value is not valid, or
        two rows would share a folder.
    """
    bases = {
        "pretrain": None if config.pretrain is None else _base("pretrain", config.pretrain),
        "fit": config.fit,  # its file depends on the decoder, which a row may change
        "evaluate": _base("evaluate", config.evaluate),
    }
    folders: dict[str, str] = {}
    for row in config.rows:
        other = folders.setdefault(_folder_name(row.name), row.name)
        if other != row.name:
            raise ValueError(f"rows {other!r} and {row.name!r} would share a folder; rename one")
    return [_cell(config, bases, row, seed) for row in config.rows for seed in config.seeds]


def share(cells: list[Cell], part: str | None) -> list[Cell]:
    """Return the cells of a part such as ``3/14``: every fourteenth, from the third on.

    Raises
    ------
    ValueError
        If the part is not ``i/n`` with 1 <= i <= n.
    """
    if part is None:
        return cells
    number, slash, count = part.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"part is {part!r}, expected i/n with 1 <= i <= n, such as 3/14")
    return cells[int(number) - 1 :: int(count)]


def fingerprint(config: Schema) -> dict[str, Any]:
    """Return what a configuration computes: all of it but where and how."""
    return config.model_dump(mode="json", exclude={"output", "runtime"})


def _cell(
    config: AblateConfig, bases: Mapping[str, dict[str, Any] | None], row: AblateRow, seed: int
) -> Cell:
    settings = _changed(bases, row)
    name = f"row {row.name!r}"
    folder = config.output / f"{_folder_name(row.name)}-{seed}"
    decoder, fit = _read_fit(settings["fit"], name)
    schema = registry.schema(decoder)
    pretrained = None
    if settings["pretrain"] is not None:
        if "pretrained" not in schema.model_fields:
            raise ValueError(
                f"{name} fits {decoder}, which starts from no pre-training; give it pretrain: false"
            )
        pretrained = _build(PretrainConfig, settings["pretrain"] | {"seed": seed}, name)
        text = json.dumps(fingerprint(pretrained), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        pretrained.output = config.output / "pretrain" / key
        fit["pretrained"] = pretrained.output
    elif row.changes.get("pretrain") is False and "pretrained" in schema.model_fields:
        fit["pretrained"] = None
    fitted = _build(schema, fit | {"seed": seed, "output": folder}, name)
    scored = {"data": fitted.data} | settings["evaluate"]
    scored |= {"model": folder / "model", "output": folder / "evaluate"}
    scored["sample"] = _whole_sample(decoder, {**scored.get("sample", {}), "seed": seed}, name)
    return Cell(row.name, seed, pretrained, decoder, fitted, _build(EvaluateConfig, scored, name))


def _read_fit(settings: Mapping[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """Return the decoder that settings name, and all of its settings, those of a file below."""
    decoder = settings.get("decoder", DEFAULT)
    try:
        command = registry.command(decoder)
    except KeyError as error:
        raise ValueError(f"{name}: {error.args[0]}") from error
    inline = {key: value for key, value in settings.items() if key != "decoder"}
    return decoder, _base(command, inline)


def _whole_sample(decoder: str, sample: dict[str, Any], name: str) -> dict[str, Any]:
    """Return how images are drawn, whole, as the evaluation writes it down."""
    kind, given = registry[decoder], _build(SampleConfig, sample, name)
    if not issubclass(kind, ImageDecoder):
        return {"seed": given.seed}
    try:
        return kind.settings(given).model_dump()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _changed(bases: Mapping[str, dict[str, Any] | None], row: AblateRow) -> dict[str, Any]:
    """Return the settings of the stages with the changes of a row."""
    settings: dict[str, Any] = deepcopy(dict(bases))
    if row.changes.get("pretrain") is False:
        settings["pretrain"] = None
    for key, value in row.changes.items():
        if key == "pretrain" and value is False:
            continue
        first, _, rest = key.partition(".")
        if not rest or first not in {*STAGES, *BOTH}:
            raise ValueError(
                f"row {row.name!r} changes {key}, expected pretrain: false or a dotted key that "
                f"begins with {', '.join([*STAGES, *BOTH])}"
            )
        if rest in OWN.get(first, ()):
            raise ValueError(f"row {row.name!r} changes {key}, which the grid sets for every row")
        if first == "pretrain" and settings["pretrain"] is None:
            raise ValueError(f"row {row.name!r} changes {key} and has no pre-training")
        if key == "fit.pretrained" and settings["pretrain"] is not None:
            raise ValueError(f"row {row.name!r} changes {key}, which pretrain in the grid sets")
        for stage in BOTH.get(first, (first,)):
            if settings[stage] is not None:
                _set(settings[stage], key.split(".")[first not in BOTH :], value)
    return settings


def _base(command: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Read the configuration that `config` names, and lay the other settings over it."""
    inline = {key: value for key, value in settings.items() if key != "config"}
    file = settings.get("config")
    below = {} if file is None else read_yaml(find_config(file, command))
    return _merged(below, inline)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for word in path[:-1]:
        if not isinstance(settings.get(word), dict):
            settings[word] = {}
        settings = settings[word]
    settings[path[-1]] = value


def _build(schema: type[AnySchema], settings: dict[str, Any], name: str) -> AnySchema:
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise ValueError(f"{name}, {schema.__name__}: {'; '.join(problems)}") from error


def _folder_name(row: str) -> str:
    """Return a row's name as a folder's: without spaces, and without what separates folders."""
    return "".join(sign for sign in row if sign.isalnum() or sign in "+-._")
