"""Fine-tuning on EEG-image pairs: encoder, projectors and cross-attention (paper 3.2, 3.3).

Trained are the projectors and, unless told otherwise, the EEG encoder and the U-Net's
cross-attention; the rest of the U-Net, the VAE and CLIP are frozen. Latents and CLIP embeddings of
the pictures are computed once. There is no path by which a missing picture is replaced: every
picture is read before the first step, and one that is missing or unreadable ends the run by name.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn

from .audit import audit_trials, check_acknowledged, record, write_audit
from .condition import EEGConditioner, drop_condition
from .config import FinetuneConfig, SampleConfig, write_yaml
from .decoders.linear import fit_lda
from .drawing import draw_trials, eeg_of
from .electrodes import electrode_positions
from .encoder import EEGEncoder
from .engine import fit
from .generator import (
    Generator,
    embed_images,
    encode_images,
    load_generator,
    prediction_target,
    unet_extras,
)
from .memory import keep_frozen_in
from .montage import VIRTUAL_ELECTRODES, mark_absent
from .pictures import read_images, to_tensor
from .pipeline import EEGToImagePipeline, add_time_condition, cross_attention
from .processor import EEGProcessor
from .runtime import Draw, choose_device, compute_dtype, is_main_process
from .splits import Split, choose_pairs, split_by
from .tokens import count_tokens
from .training_means import TrainingMeans, mean_tokens
from .trials import Trials

logger = logging.getLogger(__name__)


@dataclass
class Pairs:
    """Which pictures go with which trial, and what is known of each picture.

    Parameters
    ----------
    latents
        ``(n_pictures, channels, h, w)``, scaled.
    embeddings
        ``(n_pictures, clip_dim)``, unit norm.
    first, count
        int64 ``(n_trials,)``: the pictures of a trial are ``first .. first + count - 1``; one
        where the picture is known, the whole class where only that is.
    """

    latents: torch.Tensor
    embeddings: torch.Tensor
    first: torch.Tensor
    count: torch.Tensor

    def choose(self, indices: torch.Tensor, draw: Draw) -> torch.Tensor:
        """Return one picture for each trial, at random where only the class is known."""
        count = self.count[indices]
        place = (draw.rand() * count).long()
        return self.first[indices] + place.minimum(count - 1)

    def mean_embedding(self, trials: np.ndarray) -> torch.Tensor:
        """Return the mean embedding ``(clip_dim,)`` of the pictures of some trials, each once."""
        which = torch.from_numpy(trials)
        spans = zip(self.first[which].tolist(), self.count[which].tolist(), strict=True)
        pictures = sorted({picture for first, n in spans for picture in range(first, first + n)})
        return self.embeddings[pictures].mean(dim=0)


def load_pairs(trials: Trials, generator: Generator) -> Pairs:
    """Read every picture of the trials, and encode each once.

    Raises
    ------
    FileNotFoundError, ValueError
        If a picture is missing or cannot be read, or a trial has none.
    """
    if trials.pairing == "category":
        pools = trials.image_pools()
        paths = [path for pool in pools.values() for path in pool]
        sizes = np.array([len(pool) for pool in pools.values()])
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        numbers = {name: i for i, name in enumerate(pools)}
        which = trials.metadata["pool"].map(numbers).to_numpy()  # pyright: ignore[reportArgumentType]
        first, count = starts[which], sizes[which]
    else:
        of_trial = trials.images()
        paths = sorted(set(of_trial))
        place = {path: i for i, path in enumerate(paths)}
        first = np.array([place[path] for path in of_trial])
        count = np.ones(len(trials), dtype=np.int64)
    images = to_tensor(read_images(paths, generator.image_size))
    device = generator.vae.device
    latents, embeddings = [], []
    for part in images.split(256):
        latents.append(encode_images(generator.vae, part.to(device)).cpu())
        embeddings.append(embed_images(generator.clip, part.to(device)).cpu())
    return Pairs(
        torch.cat(latents),
        torch.cat(embeddings),
        torch.from_numpy(first).long(),
        torch.from_numpy(count).long(),
    )


class FinetuneTask:
    """Noise-prediction loss under the EEG's condition, plus ``1 - cos`` to CLIP (paper eq. 5, 6).

    Parameters
    ----------
    eeg
        All trials at the model's scale, ``(n_trials, n_chans, n_times)``.
    train, validation
        Places of the trials of the two splits.
    """

    def __init__(
        self,
        config: FinetuneConfig,
        eeg: torch.Tensor,
        pairs: Pairs,
        train: np.ndarray,
        validation: np.ndarray,
        encoder: EEGEncoder,
        conditioner: EEGConditioner,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        image_size: int,
    ) -> None:
        self.image_size = image_size
        self.n_places = pairs.latents[0, 0].numel()  # which attention runs over
        self.config, self.eeg, self.pairs, self.scheduler = config, eeg, pairs, scheduler
        self.train = torch.from_numpy(train)
        self.validation = torch.from_numpy(validation)
        self.encoder, self.conditioner, self.unet = encoder, conditioner, unet
        self.n_samples = len(train)
        self.preview: Callable[[], torch.Tensor] | None = None
        self.modules: dict[str, nn.Module] = {"encoder": encoder, "conditioner": conditioner}
        self.frozen = [unet]
        encoder.requires_grad_(config.train_encoder)
        unet.eval().requires_grad_(False)
        if config.train_cross_attention and config.noise_weight:
            layers = cross_attention(unet)
            for parameter_name, parameter in layers.named_parameters():
                parameter.requires_grad_(not config.lora_rank or ".lora_" in parameter_name)
            self.modules["cross_attention"] = layers
        dtype = compute_dtype(choose_device(config.runtime), config.runtime.precision)
        keep_frozen_in(dtype, unet, besides=cross_attention(unet))  # that is saved, in full

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        chosen = self.train[indices]
        any_montage = self.encoder.config["montage"] == "any"
        eeg = augment_eeg(self.eeg[chosen], self.config, draw, any_montage)
        return self._loss(eeg, chosen, draw, self.config.condition_dropout)

    def _loss(
        self,
        eeg: torch.Tensor,
        trials: torch.Tensor,
        draw: Draw,
        condition_dropout: float,
    ) -> dict[str, torch.Tensor]:
        device = self.encoder.device
        pictures = self.pairs.choose(trials, draw)
        tokens = self.encoder(eeg.to(device))
        target = self.pairs.embeddings[pictures].to(device)
        clip = (1 - F.cosine_similarity(self.conditioner.embed(tokens), target)).mean()
        if not self.config.noise_weight:
            return {"loss": self.config.clip_weight * clip, "clip": clip}
        condition = self.conditioner(tokens)
        dropped = draw.rand() < condition_dropout
        condition = drop_condition(condition, dropped.to(device))
        latents = self.pairs.latents[pictures]
        noise = draw.randn(*latents.shape[1:])
        n_train = self.scheduler.config["num_train_timesteps"]
        timesteps = draw.randint(0, n_train)
        predicted = self.unet(
            self.scheduler.add_noise(latents, noise, timesteps).to(device),  # pyright: ignore[reportArgumentType]
            timesteps.to(device),
            encoder_hidden_states=condition.encoder_hidden_states,
            class_labels=condition.time_condition,
            **unet_extras(self.unet, len(trials), self.image_size),
            return_dict=False,
        )[0]
        wanted = prediction_target(self.scheduler, latents, noise, timesteps).to(device)
        error = F.mse_loss(predicted.float(), wanted)
        loss = self.config.noise_weight * error + self.config.clip_weight * clip
        return {"loss": loss, "noise": error, "clip": clip}

    def validate(self) -> dict[str, float]:
        """Return the losses on the validation trials, always under the same noise."""
        if not len(self.validation):
            return {}
        self.encoder.eval()
        total: dict[str, float] = {}
        for number, part in enumerate(self.validation.split(64)):
            draw = Draw(self.config.seed, number, len(part), stream=1)
            record = self._loss(self.eeg[part], part, draw, condition_dropout=0.0)
            for key, value in record.items():
                share = len(part) / len(self.validation)
                total[f"validation_{key}"] = total.get(f"validation_{key}", 0) + share * float(
                    value
                )
        return total


def augment_eeg(
    eeg: torch.Tensor, config: FinetuneConfig, draw: Draw, any_montage: bool = False
) -> torch.Tensor:
    """Vary trials as recordings vary: added noise, small shifts in time, channels that drop out.

    A channel that drops out reads zero, or is marked absent for an encoder of any montage.
    """
    n_chans, n_times = eeg.shape[1:]
    if config.shift_augment:
        width = config.shift_augment
        shifts = draw.randint(-width, width + 1)
        places = (torch.arange(n_times)[None] - shifts[:, None]).clamp(0, n_times - 1)
        eeg = eeg.gather(2, places[:, None].expand(-1, n_chans, -1))
    if config.noise_augment:
        eeg = eeg + config.noise_augment * draw.randn(n_chans, n_times)
    if config.channel_dropout:
        gone = draw.rand(n_chans) < config.channel_dropout
        if any_montage:
            # A trial of no channel tells nothing, and is no case of use.
            eeg = mark_absent(eeg, gone & ~gone.all(dim=1, keepdim=True))
        else:
            eeg = eeg * ~gone[:, :, None]
    return eeg


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
        task.preview = lambda: draw_preview(pipeline.to(device), trials, split.validation[:4])
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
