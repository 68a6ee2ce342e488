"""DreamDiffusion as a decoder of the contract: fine-tuning, drawing, and its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from dreamdiffusion.decoders.base import CATEGORY, RECORD, Answer, read_record, write_record
from dreamdiffusion.decoders.config import FinetuneConfig, PaperSampleConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import (
    adapter_sources,
    add_time_condition,
    clip_source,
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
from dreamdiffusion.decoders.dreamdiffusion.training_means import FILE as MEANS
from dreamdiffusion.decoders.dreamdiffusion.training_means import TrainingMeans, mean_tokens
from dreamdiffusion.decoders.images import ImageDecoder, NotDrawnError
from dreamdiffusion.decoders.sampling import draw_pipeline, join_answers
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import (
    PAPER_CLIP,
    Generator,
    change_scheduler,
    image_size,
    load_generator,
    open_text_pipeline,
)
from dreamdiffusion.models.start import part_of
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import autocast, choose_device, is_main_process
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

BATCH = 16
"""Trials that are drawn at once."""
LoadPairs = Callable[[Trials, Generator], Pairs]


@dataclass
class DreamDiffusion(ImageDecoder):
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
    folder
        Where it was loaded from; None of one that was just fitted.
    """

    name = "dreamdiffusion"
    needs = frozenset({"labels", "pictures", "generator", "clip"})
    gives = frozenset({"images", "embeddings"})
    sample_schema = PaperSampleConfig

    pipeline: EEGToImagePipeline
    means: TrainingMeans | None = None
    sources: tuple[str | Path, str | Path | None] | None = None
    pretrained: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        self._precision = "fp32"
        self._text: Any = None

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

    def draw(self, trials: Trials, sample: PaperSampleConfig, numbers: np.ndarray) -> Answer:
        """Draw the images, `BATCH` trials at a time."""
        batches = np.array_split(np.arange(len(trials)), -(-len(trials) // BATCH))
        parts = []
        for places in batches:
            given = self._eeg(trials.select(places))
            with self._sampling(sample):
                images = draw_pipeline(self.pipeline, given, numbers[places], sample)
                parts.append(Answer(images, self.pipeline.embed(**given)))
        return join_answers(parts)

    def read(self, trials: Trials) -> Answer:
        """Give the embedding of the EEG."""
        batches = np.array_split(np.arange(len(trials)), -(-len(trials) // BATCH))
        with self._autocast():
            embeddings = [self.pipeline.embed(**self._eeg(trials.select(part))) for part in batches]
        return Answer(embeddings=torch.cat(embeddings))

    def draw_mean(self, sample: PaperSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw from the mean of the training trials' tokens."""
        if self.means is None:
            raise NotDrawnError(f"the model has no {MEANS}; fine-tune it anew")
        given = {"eeg_tokens": self.means.tokens.expand(len(numbers), -1, -1)}
        with self._sampling(sample):
            return draw_pipeline(self.pipeline, given, numbers, sample)

    def draw_without_eeg(self, sample: PaperSampleConfig, numbers: np.ndarray) -> torch.Tensor:
        """Draw what the generator draws by itself."""
        # The tokens only say how many images there are: their weight is nothing.
        settings = self.processor.config
        like = torch.zeros(1, self.processor.n_chans, int(settings["n_times"]))
        encoder = self.pipeline.eeg_encoder
        with self._sampling(sample), torch.no_grad():
            tokens = encoder(like.to(device=encoder.device, dtype=encoder.dtype))
            given = {"eeg_tokens": tokens.expand(len(numbers), -1, -1), "eeg_strength": 0.0}
            return draw_pipeline(self.pipeline, given, numbers, sample)

    def draw_texts(
        self, texts: list[str], sample: PaperSampleConfig, numbers: np.ndarray
    ) -> torch.Tensor:
        """Draw from texts by the generator that was fine-tuned from."""
        source = self.generator_source()
        if not isinstance(source, Path) or not (source / "text_encoder").is_dir():
            raise NotDrawnError("the generator is no folder with a text encoder")
        if self._text is None:
            self._text = open_text_pipeline(source)
        text: Any = self._text.to(self.pipeline.device)
        with self._sampling(sample):
            text.scheduler = self.pipeline.scheduler
            return draw_pipeline(text, {"prompt": texts}, numbers, sample)

    def prototypes(self) -> dict[str, torch.Tensor]:
        """Return the mean CLIP embedding of the training pictures of each category."""
        return {} if self.means is None else self.means.prototypes

    @property
    def image_size(self) -> int:
        return image_size(self.pipeline.unet, self.pipeline.vae)

    @property
    def processor(self) -> EEGProcessor:
        return self.pipeline.eeg_processor

    def clip_source(self) -> str | Path:
        if self.folder is not None:
            return clip_source(self.folder)
        generator, clip = self.sources or (PAPER_CLIP, None)
        own = Path(generator) / "clip"
        return clip or (own if own.is_dir() else PAPER_CLIP)

    def generator_source(self) -> str | Path | None:
        if self.sources is None:
            return None
        folder = Path(self.sources[0])
        return folder if folder.is_dir() else self.sources[0]

    @staticmethod
    def _eeg(trials: Trials) -> dict[str, Any]:
        eeg = np.asarray(trials.data)
        return {"eeg": eeg, "ch_names": trials.ch_names, "sfreq": trials.sfreq}

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        places = int(self.pipeline.unet.config["sample_size"]) ** 2
        return autocast(self.pipeline.device, self._precision, places)

    @contextlib.contextmanager
    def _sampling(self, sample: PaperSampleConfig) -> Iterator[None]:
        """Draw with another scheduler, in the precision that was asked for."""
        own = self.pipeline.scheduler
        self.pipeline.scheduler = change_scheduler(own, sample.scheduler)
        try:
            with self._autocast():
                yield
        finally:
            self.pipeline.scheduler = own

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
        means, sources = TrainingMeans.load(folder), adapter_sources(folder)
        pretrained = (folder / RECORD).is_file() and read_record(folder).get("pretrained", False)
        return cls(pipeline, means, sources, pretrained, folder)

    def to(self, device: str, precision: str = "auto") -> DreamDiffusion:
        self.pipeline.to(choose_device(RuntimeConfig(device=device)))
        self._precision = precision
        return self

    def facts(self) -> dict[str, Any]:
        return {"pretrained": self.pretrained}


def draw_preview(pipe: EEGToImagePipeline, trials: Trials, rows: np.ndarray) -> torch.Tensor:
    """Return one image of each trial as the model draws it now, ``(n, 3, height, width)``."""
    given = {"eeg": np.asarray(trials.data[rows])}
    given |= {"ch_names": trials.ch_names, "sfreq": trials.sfreq}
    sample = PaperSampleConfig(num_images_per_prompt=1)
    return draw_pipeline(pipe, given, rows, sample)[:, 0]


def _encode_pictures(
    trials: Trials, config: FinetuneConfig, load: LoadPairs, device: torch.device
) -> tuple[Generator, Pairs]:
    """Open the generator and encode every picture once."""
    generator = load_generator(config.generator, config.clip)
    generator.vae.to(device)  # pyright: ignore[reportArgumentType]
    generator.clip.to(device)
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
