"""One file or folder for each way from trials to an answer, behind one contract.

The package itself is the registry: ``decoders["lda"]`` is the class of that name,
``list(decoders)`` all names. Looking up a name imports that decoder alone.

Examples
--------
>>> from dreamdiffusion import decoders
>>> list(decoders)
['caption', 'dreamdiffusion', 'encoding', 'lda', 'prior', 'reader']
>>> sorted(decoders["reader"].gives)
['embeddings', 'labels']
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from dreamdiffusion.decoders.registry import registry

if TYPE_CHECKING:
    from dreamdiffusion.decoders.base import Decoder


class _Decoders(ModuleType):
    """A module that looks decoders up by name."""

    def __getitem__(self, name: str) -> type[Decoder]:
        return registry[name]

    def __iter__(self) -> Iterator[str]:
        return iter(registry)

    def __len__(self) -> int:
        return len(registry)

    def __contains__(self, name: object) -> bool:
        return name in registry


sys.modules[__name__].__class__ = _Decoders
