"""Small stand-ins that the tests write to disk: a generator, trials with pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from dreamdiffusion.decoders.config import CaptionConfig, FinetuneConfig, PriorConfig, ReaderConfig
from dreamdiffusion.models.config import ClipSizes, EncoderConfig, UnetSizes, VaeSizes
from dreamdiffusion.models.generator.build import (
    build_clip,
    build_unet,
    build_vae,
)
from dreamdiffusion.models.generator.folder import Networks, save_generator, text_tower
from dreamdiffusion.models.generator.vocabulary import train_tokenizer
from dreamdiffusion.trials.trials import Trials

SIZE = 16
CAPTIONS = ["a red square", "a blue disc"]
# Four of each in every eight, no order twice: as an experiment has to be, or the audit objects.
ORDER = [0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1]
SIZES = EncoderConfig(
    embed_dim=16, depth=1, num_heads=2, mlp_ratio=1.0,
    decoder_embed_dim=16, decoder_depth=1, decoder_num_heads=2,
)  # fmt: skip


def write_generator(folder: Path, seed: int = 0) -> Path:
    """Write an untrained generator of 16x16 pixels."""
    clip_sizes = ClipSizes(
        width=32, layers=1, heads=2, patch_size=8, projection_dim=8, max_length=8, vocab_size=600
    )
    vae_sizes = VaeSizes(channels=[16, 16], latent_channels=4)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = train_tokenizer(CAPTIONS, clip_sizes)
        clip = build_clip(tokenizer, clip_sizes, SIZE)
        vae = build_vae(vae_sizes, SIZE)
        unet_sizes = UnetSizes(channels=[32, 32], layers_per_block=1, heads=2)
        unet = build_unet(unet_sizes, vae_sizes, clip_sizes.width, SIZE)
    save_generator(folder, Networks(tokenizer, clip, text_tower(clip), vae, unet))
    return folder


def write_trials(folder: Path, n_trials: int = 24, n_chans: int = 3, n_times: int = 16) -> Path:
    """Write trials whose amplitude tells the category, each with a picture of its own."""
    rng = np.random.default_rng(5)
    stimuli = folder.parent / "stimuli"
    stimuli.mkdir(parents=True, exist_ok=True)
    category = np.resize(ORDER, n_trials)
    wave = np.sin(np.linspace(0, np.pi, n_times))
    data = rng.standard_normal((n_trials, n_chans, n_times)) + np.where(
        category[:, None, None] == 1, 2 * wave, -2 * wave
    )
    names = []
    for i, kind in enumerate(category):
        pixels = np.full((SIZE, SIZE, 3), 30 + i, np.uint8)
        pixels[4:12, 4:12, 2 if kind else 0] = 220
        names.append(f"picture-{i:02d}.png")
        Image.fromarray(pixels).save(stimuli / names[-1])
    metadata = pd.DataFrame(
        {
            "subject": "01",
            "session": "01",
            "run": [str(1 + 3 * i // n_trials) for i in range(n_trials)],
            "onset": np.arange(n_trials) * 1.0,
            "category": np.where(category == 1, "disc", "square"),
            "stim_file": names,
        }
    )
    trials = Trials(
        data=(data * 1e-5).astype(np.float32),
        ch_names=[f"C{i}" for i in range(1, n_chans + 1)],
        sfreq=100.0,
        tmin=0.0,
        metadata=metadata,
        stimuli_root=stimuli,
        simulated=True,
    )
    return trials.save(folder)


def finetune_config(tmp_path: Path, **changes: object) -> FinetuneConfig:
    """Return a fine-tuning of a few steps; trials and generator are written where missing."""
    for name, write in (("generator", write_generator), ("trials", write_trials)):
        if not (tmp_path / name).exists():
            write(tmp_path / name)
    settings: dict[str, object] = {
        "data": tmp_path / "trials",
        "generator": tmp_path / "generator",
        "output": tmp_path / "finetune",
        "encoder": SIZES,
        "n_condition_tokens": 4,
        "steps": 6,
        "batch_size": 4,
        "checkpoint_every": 2,
        "validate_every": 3,
        "log_every": 1,
        "split": {"by": "run", "test": ["3"], "validation": ["2"]},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }
    return FinetuneConfig(**(settings | changes))


def reader_config(tmp_path: Path, **changes: object) -> ReaderConfig:
    """Return a training of a reader of a few steps; trials and CLIP are written where missing."""
    same = finetune_config(tmp_path)
    settings: dict[str, object] = {
        **same.model_dump(include={"data", "split", "runtime", "batch_size", "log_every"}),
        "clip": str(tmp_path / "generator" / "clip"),
        "output": tmp_path / "reader",
        "compact": {"n_temporal": 8, "embed_dim": 16},
        "steps": 4,
        "checkpoint_every": 2,
        "validate_every": 4,
    }
    return ReaderConfig(**(settings | changes))


def prior_config(tmp_path: Path, **changes: object) -> PriorConfig:
    """Return a prior of a tiny reader and a few scenes."""
    settings = reader_config(tmp_path).model_dump()
    settings |= {"bank_size": 12, "image_size": SIZE, "generator": tmp_path / "generator"}
    return PriorConfig(**(settings | changes))


def caption_config(tmp_path: Path, **changes: object) -> CaptionConfig:
    """Return a tiny reader whose words are drawn."""
    settings = reader_config(tmp_path).model_dump() | {"generator": tmp_path / "generator"}
    return CaptionConfig(**(settings | changes))
