"""DreamDiffusion as a decoder of the contract: fine-tuning, drawing, and its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dreamdiffusion.decoders.base import CATEGORY, Answer, Decoder, write_record
from dreamdiffusion.decoders.config import FinetuneConfig, SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import (
    adapter_sources,
    add_time_condition,
    load_adapter,
)
from dreamdiffusion.decoders.dreamdiffusion.build import (
    add_lora,
    fit_processor,
    make_conditioner,
    make_encoder,
)
from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans, mean_tokens
from dreamdiffusion.decoders.sampling import collect, draw_trials, eeg_of
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.models.generator.generator import (
    Generator,
    change_scheduler,
    load_generator,
)
from dreamdiffusion.models.start import part_of
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import choose_device, is_main_process
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

LoadPairs = Callable[[Trials, Generator], Pairs]


@dataclass
class DreamDiffusion(Decoder):
    """Images and CLIP embeddings from EEG (Bai et al. 2023, arXiv 2306.16934).

    Parameters
    ----------
    pipeline
        What draws.
    means
        Of the training trials; None in folders that have none.
    sources
        Folder or hub id of the generator, and of the CLIP where it is not the generator's own;
        None: the pipeline is saved whole.
    pretrained
        Whether the encoder was pre-trained.
    """

    name = "dreamdiffusion"
    needs = frozenset({"labels", "pictures", "generator", "clip"})
    gives = frozenset({"images", "embeddings"})

    pipeline: EEGToImagePipeline
    means: TrainingMeans | None = None
    sources: tuple[str | Path, str | Path | None] | None = None
    pretrained: bool = False

    @classmethod
    def fit(
        cls, trials: Trials, split: Split, config: FinetuneConfig, load: LoadPairs = load_pairs
    ) -> DreamDiffusion:
        """Fine-tune encoder, projectors and cross-attention (paper sections 3.2 and 3.3).

        Checkpoints and log are in ``config.output``; a fit that was stopped goes on from them.

        Parameters
        ----------
        load
            What encodes the pictures; many fits on the same ones need it only once.
        """
        device = choose_device(config.runtime)
        generator, pairs = _encode_pictures(trials, config, load, device)
        pipeline, task = _assemble(trials, split, config, generator, pairs)
        task.given = {"digest of data": trials.digest}
        generator.unet.to(device)  # pyright: ignore[reportArgumentType]
        if len(split.validation):
            rows = split.validation[:4]
            task.draw_preview = lambda: draw_preview(pipeline.to(device), trials, rows)
        train_task(task, config, config.output, "fine-tuning", {"encoder": config.encoder_lr_scale})
        means = None
        if is_main_process():  # the others have done their share
            if config.lora_rank:
                generator.unet.fuse_lora()
                generator.unet.unload_lora()
            means = _training_means(pipeline, trials, split, pairs)
        sources = (config.generator, config.clip)
        return cls(pipeline, means, sources, config.pretrained is not None)

    @with_keywords(SampleConfig, "sample")
    def decode(self, trials: Trials, sample: SampleConfig, batch_size: int = 16) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Draw images of trials, and give the embedding of their EEG.

        Parameters
        ----------
        sample
            How images are drawn, or its fields as keywords; an image depends on the seed, the
            place of its trial and its own number alone.
        batch_size
            Trials that are drawn at once.
        """
        pipe, own = self.pipeline, self.pipeline.scheduler
        pipe.scheduler = change_scheduler(own, sample.scheduler)
        given = eeg_of(np.asarray(trials.data), trials.ch_names, trials.sfreq)
        places = np.arange(len(trials))
        try:
            parts = list(draw_trials(pipe, given, places, sample, batch_size, "decoding"))
        finally:
            pipe.scheduler = own
        batches = np.array_split(places, -(-len(places) // batch_size))
        return Answer(collect(parts), torch.cat([pipe.embed(**given(part)) for part in batches]))

    def save(self, folder: Path) -> None:
        """Write what fine-tuning made, and where the generator lies."""
        if self.sources is None:
            self.pipeline.save_pretrained(folder)
        else:
            self.pipeline.save_adapter(folder, *self.sources)
        write_record(folder, self.name, pretrained=self.pretrained)
        if self.means is not None:
            self.means.save(folder)

    @classmethod
    def load(cls, folder: Path) -> DreamDiffusion:
        """Open a folder of `save`, or of either format of `EEGToImagePipeline`."""
        pipeline = EEGToImagePipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, TrainingMeans.load(folder), adapter_sources(folder))

    def to(self, device: str) -> DreamDiffusion:
        self.pipeline.to(choose_device(RuntimeConfig(device=device)))
        return self

    def facts(self) -> dict[str, Any]:
        return {"pretrained": self.pretrained}


def draw_preview(pipe: EEGToImagePipeline, trials: Trials, rows: np.ndarray) -> torch.Tensor:
    """Return one image of each trial as the model draws it now, ``(n, 3, height, width)``."""
    sample = SampleConfig(num_images_per_prompt=1)
    given = eeg_of(np.asarray(trials.data[rows]), trials.ch_names, trials.sfreq)
    ((_, images),) = draw_trials(pipe, given, rows, sample, len(rows), "preview")
    return images[:, 0]


def _encode_pictures(
    trials: Trials, config: FinetuneConfig, load: LoadPairs, device: torch.device
) -> tuple[Generator, Pairs]:
    """Open the generator and encode every picture once."""
    generator = load_generator(config.generator, config.clip)
    generator.vae.to(device)  # pyright: ignore[reportArgumentType]
    generator.clip.to(device)  # pyright: ignore[reportArgumentType]
    if config.runtime.memory == "low":
        generator.vae.enable_slicing()
        generator.vae.enable_tiling()
    pairs = load(trials, generator)
    # Their work is done: latents and embeddings are kept.
    generator.vae.cpu()
    generator.clip.cpu()
    return generator, pairs


def _assemble(
    trials: Trials, split: Split, config: FinetuneConfig, generator: Generator, pairs: Pairs
) -> tuple[EEGToImagePipeline, FinetuneTask]:
    """Return the untrained pipeline, and the task that trains it."""
    encoder = make_encoder(trials, config)
    processor = fit_processor(trials, split.train, config.scale, encoder)
    eeg = processor(np.asarray(trials.data), trials.ch_names, trials.sfreq)
    unet = generator.unet
    add_time_condition(unet)
    conditioner = make_conditioner(config, encoder, generator)
    if config.init is not None:
        load_adapter(part_of(config.init, "model"), encoder, conditioner, unet)
    if config.lora_rank:
        add_lora(unet, config.lora_rank, config.seed)
    scheduler = DDPMScheduler.from_config(generator.scheduler.config)
    task = FinetuneTask(
        config, eeg, pairs, split.train, split.validation, encoder, conditioner, unet,
        scheduler, generator.image_size,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip
    if config.runtime.memory == "low":
        unet.enable_gradient_checkpointing()
        encoder.enable_gradient_checkpointing()
    pipeline = EEGToImagePipeline(
        processor, encoder, conditioner, generator.vae, unet, generator.scheduler
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, task


def _training_means(
    pipeline: EEGToImagePipeline, trials: Trials, split: Split, pairs: Pairs
) -> TrainingMeans:
    labels = trials.metadata[CATEGORY].to_numpy()
    prototypes = {
        str(name): pairs.mean_embedding(split.train[labels[split.train] == name])
        for name in np.unique(labels[split.train])
    }
    return TrainingMeans(mean_tokens(pipeline, trials, split.train), prototypes)
