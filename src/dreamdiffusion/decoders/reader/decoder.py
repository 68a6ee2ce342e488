"""The reader as a decoder of the contract: labels and embeddings, no image."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from dreamdiffusion.decoders.attributes import as_learned, find_attributes, value_places
from dreamdiffusion.decoders.base import Answer, Decoder, pick_channels, read_record, write_record
from dreamdiffusion.decoders.config import ReaderConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import relative_source, resolve_source
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_embeddings
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.reader.build import build_network
from dreamdiffusion.decoders.reader.linear import (
    cross_validate,
    fit_linear,
    mean_relevance,
    read_linear,
)
from dreamdiffusion.decoders.reader.montage import CapEstimate
from dreamdiffusion.decoders.reader.network import ReaderNetwork
from dreamdiffusion.decoders.reader.pooling import (
    Pooling,
    Tables,
    fit_exponents,
    fit_pooling,
    no_surer,
    pool,
)
from dreamdiffusion.decoders.reader.task import UNKNOWN, ReadingTask
from dreamdiffusion.decoders.repair import ChannelRepair, repair_trials, say_repaired
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.start import part_of, start_from
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import choose_device
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)

CAP = "cap.safetensors"
LINEAR = "linear"
"""Folder of the linear model below the reader's."""
BATCH = 512
"""Trials that are read at once."""


@dataclass
class Reader(Decoder):
    """Reads attributes of the picture, and its CLIP embedding, off the EEG.

    Parameters
    ----------
    processor
        Checks and scales trials.
    networks
        One, or several of different seeds, whose answers are averaged.
    linear
        Linear models of the same attributes, one for each length of its windows, whose
        log-probabilities are averaged; none: the networks answer alone.
    pooling
        How much each attribute's probabilities are the networks' and the linear model's.
    repair
        Of channels of the trials that are learned from and read; None: trials are as they are.
    cap
        Brings trials of other headsets to the channels of the reader; None: such are refused.
    clip
        What opens the space of the embeddings (`load_embedder`); None where a folder does not say.
    relevance
        What the networks' channels are multiplied by, 1 for the most trusted; None: nothing.
    """

    name = "reader"
    needs = frozenset({"labels", "pictures", "clip"})
    gives = frozenset({"embeddings", "labels"})

    processor: EEGProcessor
    networks: list[ReaderNetwork]
    linear: list[Encoding] = field(default_factory=list)
    pooling: Pooling = field(default_factory=dict)
    repair: ChannelRepair | None = None
    cap: CapEstimate | None = None
    clip: str | Path | None = None
    relevance: list[float] | None = None

    @classmethod
    def fit(cls, trials: Trials, split: Split, config: ReaderConfig) -> Reader:
        """Train the networks one after the other; a fit that was stopped goes on.

        An ensemble of n costs n times the time, the memory on disk and the time of an answer.

        Raises
        ------
        ValueError
            If no attribute has two values among the training trials, a pre-trained encoder does
            not fit, or with ``montage`` any the place of a channel is not known.
        """
        device = choose_device(config.runtime)
        cap = None
        if config.montage == "any":  # first, since a channel without a place ends the fit
            cap = CapEstimate.fit(np.asarray(trials.data[split.train]), trials.ch_names)
        trials, repair = repair_trials(trials, split.train, config.repair_channels)
        pairs = load_embeddings(trials, load_embedder(config.clip, device))
        processor = EEGProcessor.fit(trials, split.train, config.scale, trials.n_chans)
        found = find_attributes(trials, split.train, config.attributes)
        linear: list[Encoding] = []
        known = config.model_copy(update={"attributes": list(found)})
        if config.linear or config.electrode_relevance:
            linear = fit_linear(trials, split, known)
        reader = cls(processor, [], cap=cap, clip=config.clip, relevance=mean_relevance(linear))
        eeg = reader._scale(trials)
        attributes, earlier = found, None
        if config.init is not None:
            earlier = part_of(part_of(config.init, "model"), "reader")  # that of a prior too
            attributes = as_learned(found, _learned(earlier), trials, config.attributes)
        labels = {
            name: torch.from_numpy(
                value_places(trials.metadata[name].astype(str).tolist(), values, UNKNOWN)
            )
            for name, values in attributes.items()
        }
        for number in range(config.ensemble):
            own = config.model_copy(update={"seed": config.seed + number})
            network = build_network(trials, own, attributes, pairs.embeddings.shape[1])
            if earlier is not None:
                start_from(network, earlier / _folder(number))
            task = ReadingTask(own, network, eeg, labels, pairs, split.train, split.validation)
            task.given = {"digest of data": trials.digest}
            train_task(task, own, config.output / _folder(number), f"reader {number + 1}")
            reader.networks.append(network.eval())
        if config.linear and attributes != found:
            logger.info("no linear model: the training trials lack values that the networks know")
        elif config.linear:
            reader.add_linear(linear, trials, split, known)
        reader.repair = repair
        return reader

    def add_linear(
        self, linear: list[Encoding], trials: Trials, split: Split, config: ReaderConfig
    ) -> None:
        """Put linear models beside the networks; fit their weight on the validation trials.

        How sure they may be is told by the training trials, of which there are more. Where the
        validation trials are of people who did not train, the reader is for new people: `no_surer`.
        """
        if not len(split.validation):
            logger.info("no linear model: its weight is fitted on validation trials")
            return
        held_out = trials.select(split.validation)
        networks = self.decode(held_out).probabilities
        assert networks is not None
        self.linear = linear
        exponents = fit_exponents(*cross_validate(trials, split.train, config))
        said = self._read_linear(held_out)
        self.pooling = fit_pooling(networks, said, held_out.metadata, exponents)
        people = trials.metadata["subject"]
        if not set(people.iloc[split.train]) & set(people.iloc[split.validation]):
            self.pooling = no_surer(self.pooling)

    def scale_again(self, trials: Trials, train: np.ndarray) -> EEGProcessor:
        """Fit the scale as `fit` does, on the places ``train`` of trials of its channels."""
        own = self.processor
        trials, _ = repair_trials(trials, train, self.repair and self.repair.threshold)
        return EEGProcessor.fit(trials, train, own.config["scale"], own.n_chans)

    def _scale(self, trials: Trials) -> torch.Tensor:
        """Return trials as the networks take them."""
        eeg = self.processor(np.asarray(trials.data), trials.ch_names, trials.sfreq)
        if self.relevance is None:
            return eeg
        return eeg * torch.tensor(self.relevance)[:, None]

    def _read_linear(self, trials: Trials) -> Tables:
        return read_linear(self.linear, trials, self.processor.config["scale"])

    def decode(self, trials: Trials) -> Answer:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give the probabilities of every attribute, and the embedding of the EEG."""
        own = self.as_read(trials)
        say_repaired(np.asarray(trials.data), np.asarray(own.data))
        return self.answer(own)

    @torch.no_grad()
    def answer(self, trials: Trials) -> Answer:
        """Give what `decode` gives, for trials that `as_read` returned."""
        eeg = self._scale(trials)
        device = self.networks[0].device
        read = [
            [network(part.to(device)) for part in eeg.split(BATCH)] for network in self.networks
        ]
        probabilities = {}
        for name, values in self.attributes.items():
            each = [torch.cat([scores[name] for scores, _ in of]).softmax(dim=1) for of in read]
            table = torch.stack(each).mean(dim=0).cpu().double().numpy()
            probabilities[name] = pd.DataFrame(table, columns=pd.Index(values))
        each = [torch.cat([embedding for _, embedding in of]) for of in read]
        embeddings = F.normalize(torch.stack(each).mean(dim=0), dim=1).cpu()
        if self.pooling:
            probabilities = pool(probabilities, self._read_linear(trials), self.pooling)
        return Answer(embeddings=embeddings, probabilities=probabilities)

    def as_read(self, trials: Trials) -> Trials:
        """Return trials in the channels of this reader, their loose channels replaced."""
        if self.cap is not None:
            trials = self.cap(trials)
        if self.repair is None:
            return trials
        names = self.processor.config["ch_names"]
        data = pick_channels(trials, names, self.processor.config["sfreq"])
        return replace(trials, data=self.repair(data), ch_names=list(names))

    @property
    def attributes(self) -> dict[str, list[str]]:
        """Values of each attribute."""
        return dict(self.networks[0].config["attributes"])

    def save(self, folder: Path) -> None:
        """Write scale, networks and linear model."""
        counts = {"ensemble": len(self.networks), "n_linear": len(self.linear)}
        clip = {} if self.clip is None else {"clip": relative_source(self.clip, folder)}
        learned = {"pooling": self.pooling, "relevance": self.relevance}
        write_record(folder, self.name, **counts, **learned, **clip)
        self.processor.save_pretrained(folder / "eeg_processor")
        for number, network in enumerate(self.networks):
            network.save_pretrained(folder / _folder(number))
        for number, linear in enumerate(self.linear):
            linear.save(folder / LINEAR / str(number))
        if self.repair is not None:
            self.repair.save(folder)
        if self.cap is not None:
            self.cap.save(folder / CAP)

    @classmethod
    def load(cls, folder: Path) -> Reader:
        """Read what `save` wrote."""
        record = read_record(folder, cls.name)
        pooling = record.get("pooling", {})  # saved before there was a linear model: none
        n_linear = int(record.get("n_linear", 0))
        linear = [Encoding.load(folder / LINEAR / str(number)) for number in range(n_linear)]
        processor = EEGProcessor.from_pretrained(folder / "eeg_processor", use_safetensors=True)
        networks = [
            ReaderNetwork.from_pretrained(folder / _folder(n)) for n in range(record["ensemble"])
        ]
        repair = ChannelRepair.load(folder)
        cap = CapEstimate.load(folder / CAP) if (folder / CAP).is_file() else None
        networks = [network.eval() for network in networks]
        clip = resolve_source(record["clip"], folder) if "clip" in record else None
        relevance = record.get("relevance")  # saved before it could be learned: none
        return cls(processor, networks, linear, pooling, repair, cap, clip, relevance)

    def to(self, device: str) -> Reader:
        where: Any = choose_device(RuntimeConfig(device=device))
        for network in self.networks:
            network.to(where)
        return self

    def facts(self) -> dict[str, Any]:
        count = sum(p.numel() for network in self.networks for p in network.parameters())
        facts: dict[str, Any] = {"ensemble": len(self.networks), "n_parameters": count}
        if self.relevance is not None:
            names = self.processor.config["ch_names"]
            facts["relevance"] = dict(zip(names, self.relevance, strict=True))
        return facts | ({"pooling": self.pooling} if self.pooling else {})


def _folder(number: int) -> str:
    return f"network-{number}"


def _learned(folder: Path) -> dict[str, list[str]]:
    """Return the attributes of a saved reader; none where `start_from` will refuse the folder."""
    network = folder / _folder(0)
    if not (network / "config.json").is_file():
        return {}
    return dict(ReaderNetwork.from_pretrained(network).config["attributes"])
