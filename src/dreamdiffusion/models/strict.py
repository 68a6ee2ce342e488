"""A diffusers model that refuses a folder with weights missing or left over."""

from __future__ import annotations

from typing import Any

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin


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
            If the file lacks a tensor of the model, or holds one that the model has not.
        OSError
            If the folder holds no safetensors.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs["use_safetensors"] = True
        loaded: Any = super().from_pretrained(
            pretrained_model_name_or_path, output_loading_info=True, **kwargs
        )
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
