"""Networks out of a folder, or out of a repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def open_weights(
    kind: Any, source: str | Path, what: str, subfolder: str = "", **options: Any
) -> Any:
    """Open a network; one that would keep random weights is refused.

    Parameters
    ----------
    kind
        A class of transformers or diffusers with `from_pretrained`.
    source
        A folder, or the id of one on the hub. Weights must be safetensors.
    what
        Its name in messages.
    subfolder
        Of the folder, where it holds several networks.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or the hub has no such repository or cannot be reached.
    ValueError
        If the file lacks weights of the network.
    """
    options |= {"use_safetensors": True, "output_loading_info": True}
    network, info = fetch(kind.from_pretrained, source, what, subfolder, **options)
    if info["missing_keys"]:
        raise ValueError(
            f"{what} {source} does not fit: its file {subfolder} lacks "
            f"{len(info['missing_keys'])} tensors ({', '.join(sorted(info['missing_keys'])[:2])}); "
            "copy the whole folder again"
        )
    return network


def fetch(load: Any, source: str | Path, what: str, subfolder: str = "", **options: Any) -> Any:
    """Call what reads a file of a folder or of the hub; a FileNotFoundError says what is absent."""
    try:
        if subfolder:
            options["subfolder"] = subfolder
        # Some libraries draw first weights before they read the file's.
        with torch.random.fork_rng(devices=[]):
            return load(str(source), **options)
    except OSError as error:
        place = f"{source}/{subfolder}" if subfolder else str(source)
        needed = f"{what} {place} is neither a folder with what is needed, nor"
        if Path(source).exists() or Path(source).is_absolute() or str(source).count("/") > 1:
            why = "the id of a repository on the hub"
        else:
            why = f"can it be fetched from the hub ({str(error).splitlines()[0]})"
        raise FileNotFoundError(
            f"{needed} {why}; dreamdiffusion train-generator makes a small one"
        ) from error
