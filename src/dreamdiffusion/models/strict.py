"""A diffusers model that refuses a folder with weights missing or left over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin

from dreamdiffusion.files.whole import parse_json


class StrictModel(ModelMixin, ConfigMixin):
    """A diffusers model that loads whole or not at all, and from safetensors only."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:
        """Load a folder that ``save_pretrained`` wrote; keywords as diffusers.

        diffusers itself goes on with a warning where tensors are missing or unknown, and reads
        pickles where it finds no safetensors.

        Raises
        ------
        ValueError
            If the folder is of another class, the file lacks a tensor of the model, or holds one
            that the model has not.
        OSError
            If the folder holds no such model, or no safetensors.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["use_safetensors"] = True
        source = pretrained_model_name_or_path
        if isinstance(source, Path) or Path(source).exists():
            check_class(Path(source) / kwargs.get("subfolder", ""), cls.__name__)
        try:
            loaded: Any = super().from_pretrained(source, output_loading_info=True, **kwargs)
        except ValueError as error:  # of a tensor of another shape, without the file
            raise ValueError(
                f"the weights in {source} do not fit {cls.__name__}: {error}; copy the whole "
                "folder again"
            ) from error
        model, info = loaded
        for kind, verb in (("missing_keys", "lacks"), ("unexpected_keys", "also holds")):
            if info[kind]:
                raise ValueError(
                    f"the weights in {pretrained_model_name_or_path} do not fit {cls.__name__}: "
                    f"the file {verb} {', '.join(sorted(info[kind])[:4])}"
                    f"{' and more' if len(info[kind]) > 4 else ''}; copy the whole folder again, "
                    "or load it with the class its config.json names"
                )
        return (model, info) if wants_info else model


def check_class(folder: Path, name: str) -> None:
    """Refuse a folder of another model, before its weights are looked at.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    ValueError
        If it holds one of another class.
    """
    path = folder / "config.json"
    if not path.is_file():
        found = "holds no config.json" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(f"{folder} {found}; expected the folder of one {name}")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    found = content.get("_class_name") if isinstance(content, dict) else None
    if found != name:
        what = f"is of a {found}" if found else "names no class"
        raise ValueError(f"{path} {what}; expected the folder of one {name}")
