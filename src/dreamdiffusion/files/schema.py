"""The configuration of every stage, as pydantic schemas that forbid unknown keys.

A stage is configured by one schema: the command line, the YAML files (`shipped` finds those of the
package) and the Python API use the same words. Science (what is computed) and runtime (where and
how it is computed) are apart: runs that differ only in ``runtime`` mean to give the same result.
Importing this module must stay cheap, so it imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from dreamdiffusion.files.shipped import find_weights

Source = Annotated[str, BeforeValidator(str), AfterValidator(find_weights)]
"""A folder, or the id of a repository on the hub; ``weights/...`` is found wherever it lies."""

Weights = Annotated[Path, AfterValidator(find_weights)]
"""A folder of a model; ``weights/...`` is found in the working directory or in the package."""

PictureFit = Literal["crop", "pad", "squash"]
"""How a picture becomes a square: its middle is cut out, it is padded, or it is stretched."""


class Schema(BaseModel):
    """Base of every schema: an unknown key is an error, never ignored.

    A mapping that is given for a nested schema is laid over the default of that field, which need
    not be that of the nested class: what it does not state stays as the stage has it.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        defaults = {
            name: cls.model_fields[name].get_default() for name in given if name in cls.model_fields
        }
        return {name: _laid_over(defaults.get(name), value) for name, value in given.items()}


def _laid_over(default: Any, given: Any) -> Any:
    """Add to a mapping what the default that it is given for states, at every depth."""
    if not (isinstance(default, Schema) and isinstance(given, Mapping)):
        return given
    stated = {name: getattr(default, name) for name in default.model_fields_set}
    over = {name: _laid_over(stated.get(name), value) for name, value in given.items()}
    return stated | over


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds one mapping.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not YAML or holds something else than a mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"config file {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"config file {path} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"config file {path} holds a {type(content).__name__}, expected a mapping")
    return content


def write_yaml(config: Schema, path: Path) -> None:
    """Write the resolved configuration, so that a run folder says how it was made."""
    from dreamdiffusion.files.whole import write_text  # which brings numpy

    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
