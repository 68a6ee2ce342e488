"""Fine-tuning on EEG-image pairs: encoder, projectors and cross-attention (paper 3.2, 3.3).

From trials, a generator and perhaps a pre-trained encoder to a model that
`EEGToImagePipeline.from_pretrained` opens. What is paired says `pairs`, what is trained
`finetune_task`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dreamdiffusion.decoders.config import FinetuneConfig, SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans, mean_tokens
from dreamdiffusion.decoders.linear import fit_lda
from dreamdiffusion.decoders.sampling import draw_trials, eeg_of
from dreamdiffusion.evidence.audit.run import audit_trials, check_acknowledged, record, write_audit
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.encoders.tokens import count_tokens
from dreamdiffusion.models.encoders.virtual_electrodes import VIRTUAL_ELECTRODES
from dreamdiffusion.models.generator.generator import Generator, load_generator
from dreamdiffusion.recordings.electrodes import electrode_positions
from dreamdiffusion.training.device import choose_device, is_main_process
from dreamdiffusion.training.loop import fit
from dreamdiffusion.trials.splits import Split, choose_pairs, split_by
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


def finetune(
    config: FinetuneConfig, load: Callable[[Trials, Generator], Pairs] = load_pairs
) -> Path:
    """Fine-tune on the training trials and write ``output/model``; resumes if it was stopped.

    ``output/model`` is what `EEGToImagePipeline.from_pretrained` opens; it also holds
    ``split.json`` and ``audit.json``. The test trials are neither trained nor validated on.

    Parameters
    ----------
    load
        What encodes the pictures; many fine-tunings on the same ones need it only once.

    Raises
    ------
    FileNotFoundError, ValueError
        If trials, generator, pre-trained encoder or any picture are missing or do not fit, or the
        audit has a severe finding that ``config.acknowledge`` does not name.
    """
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_yaml(config, output / "config.yaml")
    device = choose_device(config.runtime)
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    audited = run_audit(trials, split, config)
    generator = load_generator(config.generator, config.clip)
    generator.vae.to(device)  # pyright: ignore[reportArgumentType]
    generator.clip.to(device)  # pyright: ignore[reportArgumentType]
    low_memory = config.runtime.memory == "low"
    if low_memory:
        generator.vae.enable_slicing()
        generator.vae.enable_tiling()
    pairs = load(trials, generator)
    # Their work is done: latents and embeddings are kept.
    generator.vae.cpu()
    generator.clip.cpu()
    encoder = make_encoder(trials, config)
    processor = fit_processor(trials, split.train, config.scale, encoder)
    eeg = processor(np.asarray(trials.data), trials.ch_names, trials.sfreq)
    unet = generator.unet
    add_time_condition(unet)
    if config.lora_rank:
        add_lora(unet, config.lora_rank, config.seed)
    conditioner = make_conditioner(config, encoder, generator)
    scheduler = DDPMScheduler.from_config(generator.scheduler.config)
    task = FinetuneTask(
        config,
        eeg,
        pairs,
        split.train,
        split.validation,
        encoder,
        conditioner,
        unet,
        scheduler,  # pyright: ignore[reportArgumentType]
        generator.image_size,
    )
    unet.to(device)  # pyright: ignore[reportArgumentType]
    if low_memory:
        unet.enable_gradient_checkpointing()
        encoder.enable_gradient_checkpointing()
    pipeline = EEGToImagePipeline(
        processor, encoder, conditioner, generator.vae, unet, generator.scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    if len(split.validation):
        task.draw_preview = lambda: draw_preview(pipeline.to(device), trials, split.validation[:4])
    fit(task, config, output, "fine-tuning", {"encoder": config.encoder_lr_scale})
    folder = output / "model"
    if not is_main_process():
        return folder
    if config.lora_rank:
        unet.fuse_lora()
        unet.unload_lora()
    pipeline.save_adapter(folder, config.generator, config.clip)
    split.save(folder / "split.json")
    write_audit(folder / "audit.json", audited)
    fit_baselines(trials, split, folder)
    labels = trials.metadata["category"].to_numpy()
    prototypes = {
        str(name): pairs.mean_embedding(split.train[labels[split.train] == name])
        for name in np.unique(labels[split.train])
    }
    TrainingMeans(mean_tokens(pipeline, trials, split.train), prototypes).save(folder)
    about = {
        "simulated": trials.simulated,
        "split": split.rule,
        "split_sha256": split.sha256,
        "n_train": len(split.train),
        "pretrained": config.pretrained is not None,
        "runs": trials.metadata[["subject", "session", "run"]].drop_duplicates().values.tolist(),
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return folder


def run_audit(trials: Trials, split: Split, config: FinetuneConfig) -> dict[str, Any]:
    """Audit trials and split, write ``output/audit.json``, and return its content.

    Every process of a training looks for itself: all of them find the same, and all of them end.

    Raises
    ------
    ValueError
        For a severe finding that is not acknowledged.
    """
    findings = audit_trials(trials, split)
    audited = record(findings, trials, split, config.acknowledge)
    if is_main_process():
        write_audit(config.output / "audit.json", audited)
    check_acknowledged(findings, config.acknowledge)
    return audited


def draw_preview(pipe: EEGToImagePipeline, trials: Trials, rows: np.ndarray) -> torch.Tensor:
    """Return one image of each trial as the model draws it now, ``(n, 3, height, width)``."""
    sample = SampleConfig(num_images_per_prompt=1)
    given = eeg_of(np.asarray(trials.data[rows]), trials.ch_names, trials.sfreq)
    ((_, images),) = draw_trials(pipe, given, rows, sample, len(rows), "preview")
    return images[:, 0]


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


def fit_baselines(trials: Trials, split: Split, folder: Path) -> None:
    """Fit the linear baselines on the same training trials and lay them beside the model.

    A model can then be compared with them on any later recording, without its training data. They
    need two categories, and two training trials of each; otherwise none is written.
    """
    labels = trials.metadata["category"].to_numpy()[split.train]
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        logger.warning("no linear baseline: it needs two training trials of each category")
        return
    for covariance in ("class", "pooled"):
        decoder = fit_lda(
            np.asarray(trials.data[split.train]), labels, trials.sfreq, covariance=covariance
        )
        decoder.save(folder / f"lda_{covariance}.safetensors")


def make_split(trials: Trials, config: FinetuneConfig) -> Split:
    """Split the trials as the configuration says."""
    split = split_by(
        trials.metadata,
        config.split.by,
        config.split.test,
        config.split.validation or config.split.validation_fraction,
        config.seed,
        # Where only the class of a picture is known, the sides share pictures; the rule says so,
        # as it does where the audit's finding of it is acknowledged.
        trials.pairing == "category" or "shared_stimuli" in config.acknowledge,
    )
    if config.n_pairs is None:
        return split
    return choose_pairs(split, trials.metadata["category"].to_numpy(), config.n_pairs, config.seed)


def make_encoder(trials: Trials, config: FinetuneConfig) -> EEGEncoder:
    """Return the pre-trained encoder, or a new one of the configured sizes.

    Raises
    ------
    ValueError
        If the pre-trained encoder takes another window or fewer channels than the trials have, or
        an encoder that is not to be trained was never pre-trained.
    """
    if config.pretrained is None and not config.train_encoder:
        raise ValueError(
            "train_encoder is false and pretrained is empty: the encoder would stay random; "
            "give pretrained, or train it"
        )
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
    """Fit the scale on the training trials, for channels as the encoder takes them."""
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
            clip_dim=generator.clip.config.projection_dim,  # pyright: ignore[reportArgumentType]
        )
