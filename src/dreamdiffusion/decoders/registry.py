"""Every decoder by its name; one is imported when it is asked for, and torch with it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dreamdiffusion.decoders.base import Decoder
    from dreamdiffusion.decoders.config import FitConfig


@dataclass(frozen=True)
class Entry:
    """Where a decoder and the schema of its `fit` live, ``module:Name`` below this package."""

    summary: str
    decoder: str
    schema: str


ENTRIES: dict[str, Entry] = {
    "caption": Entry(
        "a reader whose words a generator draws: the short cut that a user would take",
        "caption.decoder:Caption",
        "config:CaptionConfig",
    ),
    "dreamdiffusion": Entry(
        "the paper's: EEG tokens condition the cross-attention of a diffusion model",
        "dreamdiffusion.decoder:DreamDiffusion",
        "config:FinetuneConfig",
    ),
    "encoding": Entry(
        "a linear encoding model: what the picture shows, all attributes at once",
        "encoding:Encoding",
        "config:EncodingConfig",
    ),
    "lda": Entry(
        "the linear baseline: shrinkage LDA on window means",
        "lda:LDA",
        "config:LdaConfig",
    ),
    "prior": Entry(
        "a reader, and a generator that draws from the likely pictures of a bank on",
        "prior.decoder:Prior",
        "config:PriorConfig",
    ),
    "reader": Entry(
        "a compact network: attributes of the picture and its CLIP embedding, in a minute",
        "reader.decoder:Reader",
        "config:ReaderConfig",
    ),
}


WORDS = {"dreamdiffusion": "finetune"}
"""Commands that are no `fit NAME`: the paper's word for its own decoder."""


class Registry(Mapping[str, "type[Decoder]"]):
    """Name -> class of a decoder, a mapping that imports a class when it is looked up."""

    def __getitem__(self, name: str) -> type[Decoder]:
        return _load(_entry(name).decoder)

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)

    def __contains__(self, name: object) -> bool:
        return name in ENTRIES

    def schema(self, name: str) -> type[FitConfig]:
        """Return the schema that configures the decoder's `fit`; no torch is imported."""
        return _load(_entry(name).schema)

    def of_config(self, config: FitConfig) -> str:
        """Return the name of the decoder that a configuration belongs to."""
        return next(name for name in self if self.schema(name) is type(config))

    def command(self, name: str) -> str:
        """Return what is typed to fit a decoder: ``fit prior``; ``finetune``."""
        _entry(name)
        return WORDS.get(name, f"fit {name}")

    def summary(self, name: str) -> str:
        """Return one line about a decoder."""
        return _entry(name).summary


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        near = difflib.get_close_matches(str(name), ENTRIES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise KeyError(f"unknown decoder {name!r}{hint}; decoders: {', '.join(ENTRIES)}")
    return ENTRIES[name]


def _load(target: str):
    module, attribute = target.split(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)


registry = Registry()
