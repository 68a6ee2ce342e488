"""The parts of the model before training: encoder, scale, projectors, low-rank updates."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.encoders.tokens import count_tokens
from dreamdiffusion.models.encoders.virtual_electrodes import VIRTUAL_ELECTRODES
from dreamdiffusion.models.generator.generator import Generator
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.trials.trials import Trials


def make_encoder(trials: Trials, config: FinetuneConfig) -> EEGEncoder:
    """Return the pre-trained encoder, or a new one of the configured sizes.

    Raises
    ------
    ValueError
        If the pre-trained encoder takes another window or fewer channels than the trials have, or
        an encoder that is not to be trained was never pre-trained.
    """
    if config.pretrained is None and config.init is None and not config.train_encoder:
        raise ValueError(
            "train_encoder is false and pretrained and init are empty: the encoder would stay "
            "random; give one of them, or train it"
        )
    if config.pretrained is not None and config.init is not None:
        raise ValueError("pretrained and init both give the encoder's weights; give one of them")
    if config.pretrained is not None:
        path = config.pretrained / "encoder"
        encoder = EEGEncoder.from_pretrained(path if path.is_dir() else config.pretrained)
        if encoder.config["n_times"] != trials.n_times:
            raise ValueError(
                f"pre-trained encoder {config.pretrained} takes {encoder.config['n_times']} time "
                f"points, the trials have {trials.n_times}; prepare both with one window"
            )
        if encoder.config["montage"] == "any":
            encoder.register_to_config(positions=electrode_positions(trials.ch_names).tolist())
        return encoder.train().requires_grad_(True)
    sizes = config.encoder
    any_montage = sizes.montage == "any"
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return EEGEncoder(
            n_chans=config.n_chans or (VIRTUAL_ELECTRODES if any_montage else trials.n_chans),
            n_times=trials.n_times,
            patch_size=sizes.patch_size,
            embed_dim=sizes.embed_dim,
            depth=sizes.depth,
            num_heads=sizes.num_heads,
            mlp_ratio=sizes.mlp_ratio,
            montage=sizes.montage,
            positions=electrode_positions(trials.ch_names).tolist() if any_montage else None,
        )


def fit_processor(
    trials: Trials, train: np.ndarray, scale: str, encoder: EEGEncoder
) -> EEGProcessor:
    """Fit the scale on the training trials (places, int ``(n,)``), for channels of the encoder."""
    if encoder.config["montage"] == "any":
        return EEGProcessor.fit(trials, train, scale, trials.n_chans, missing="absent")
    return EEGProcessor.fit(trials, train, scale, encoder.config["n_chans"])


def make_conditioner(
    config: FinetuneConfig, encoder: EEGEncoder, generator: Generator
) -> EEGConditioner:
    """Return new projectors that fit the encoder, the U-Net and CLIP."""
    unet = generator.unet
    with torch.random.fork_rng():
        torch.manual_seed(config.seed + 1)
        return EEGConditioner(
            n_tokens=count_tokens(encoder.config["n_times"], encoder.config["patch_size"]),
            embed_dim=encoder.config["embed_dim"],
            n_condition_tokens=config.n_condition_tokens,
            cross_attention_dim=unet.config["cross_attention_dim"],
            time_embed_dim=unet.time_embedding.linear_2.out_features,
            clip_dim=generator.clip.embed_dim,
        )


def add_lora(unet: UNet2DConditionModel, rank: int, seed: int) -> None:
    """Put low-rank updates (Hu et al. 2021) beside the cross-attention's matrices.

    Raises
    ------
    ValueError
        If peft is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError("lora_rank needs peft: pip install 'dreamdiffusion[lora]'") from error
    targets = r".*\.attn2\.(to_q|to_k|to_v|to_out\.0)"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
