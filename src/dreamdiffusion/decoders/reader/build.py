"""A new network of a reader, its transformer pre-trained where the configuration says so."""

from __future__ import annotations

from pathlib import Path

import torch

from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.reader.network import ReaderNetwork
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.start import part_of
from dreamdiffusion.trials.trials import Trials

USUAL = {"use_cls_token": True, "montage": "fixed", "positions": None}
"""Sizes of an encoder that are named only where they differ, so that a reader has the same sizes
with and without pre-training."""


def build_network(
    trials: Trials, config: ReaderConfig, attributes: dict[str, list[str]], clip_dim: int
) -> ReaderNetwork:
    """Return a new network.

    Raises
    ------
    ValueError
        If a pre-trained encoder is named for a compact network, beside ``init``, or does not fit
        the trials.
    """
    size = {"n_chans": trials.n_chans, "n_times": trials.n_times}
    pretrained = None
    if config.pretrained is not None:
        pretrained = _open_pretrained(config.pretrained, config, trials)
        kept = {k: v for k, v in pretrained.config.items() if not k.startswith("_")}
        sizes = {k: v for k, v in kept.items() if k not in USUAL or v != USUAL[k]}
    elif config.encoder == "compact":
        sizes = size | config.compact.model_dump()
    else:
        keep = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
        sizes = size | config.mae.model_dump(include=set(keep))
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = ReaderNetwork(config.encoder, sizes, attributes, clip_dim)
    if pretrained is not None:
        network.encoder.load_state_dict(pretrained.state_dict())
    return network


def _open_pretrained(path: Path, config: ReaderConfig, trials: Trials) -> EEGEncoder:
    """Open the encoder that `pretrain` left, checked against the trials."""
    if config.encoder == "compact":
        raise ValueError("--pretrained goes with encoder mae; the compact encoder has none")
    if config.init is not None:
        raise ValueError("pretrained and init both give the encoder's weights; give one of them")
    encoder = EEGEncoder.from_pretrained(part_of(path, "encoder"))
    if encoder.config["montage"] != "fixed":
        raise ValueError(
            f"pre-trained encoder {path} knows channels by their place, a reader by their name; "
            "pre-train with encoder.montage fixed"
        )
    if (encoder.config["n_chans"], encoder.config["n_times"]) != (trials.n_chans, trials.n_times):
        raise ValueError(
            f"pre-trained encoder {path} takes {encoder.config['n_chans']} channels of "
            f"{encoder.config['n_times']} time points, the trials have {trials.n_chans} of "
            f"{trials.n_times}"
        )
    return encoder
