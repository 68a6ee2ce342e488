"""Pre-training of the EEG encoder by temporal masked signal modelling (paper section 3.1)."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import whole_folder, write_json
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder, Placed, token_errors
from dreamdiffusion.models.encoders.pretrain_picture import draw_reconstruction
from dreamdiffusion.models.encoders.tokens import patchify, tile_channels, unpatchify
from dreamdiffusion.models.encoders.virtual_electrodes import (
    VIRTUAL_ELECTRODES,
    drop_channels,
    mark_absent,
)
from dreamdiffusion.models.start import part_of, start_from
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.training.prefetch import Prefetch
from dreamdiffusion.training.random_numbers import Draw, step_generator
from dreamdiffusion.training.task import Task
from dreamdiffusion.trials.windows.store import WindowStore

logger = logging.getLogger(__name__)

# Streams of random numbers that are not those of the training steps (stream 0).
INIT, VALIDATION, SPLIT = 1, 2, 3
VALIDATION_LIMIT = 2048
"""Windows at most that a validation during training looks at; the final scores use all."""
VALIDATION_BATCH = 256


@dataclass
class WindowSplit:
    """Which windows train and which validate."""

    train: np.ndarray
    """int64, in order."""
    validation: np.ndarray
    """int64, in order; empty where the fraction is 0."""
    by: str
    """In words, what was held out."""
    held_out: list[str]
    """Names of the held-out subjects or recordings."""


def split_windows(
    metadata: pd.DataFrame, window_s: float, fraction: float, seed: int
) -> WindowSplit:
    """Hold out whole subjects; where there are too few, whole recordings, or the end of each.

    A unit serves if a rounded ``fraction`` of its number is at least one, so that the size of the
    held-out part is near the fraction that was asked for. Neighbouring windows are alike and may
    overlap, so single windows are never held out at random.

    Parameters
    ----------
    metadata
        Columns ``subject``, ``session``, ``run``, ``recording`` and ``start`` (s); ``dataset``
        where there are several.
    window_s
        Length of a window, s.
    fraction
        Of the windows, 0 to 1.

    Raises
    ------
    ValueError
        If nothing would be left to train on, or to validate on.
    """
    everything = np.arange(len(metadata))
    if fraction == 0:
        return WindowSplit(everything, everything[:0], "none", [])
    # Two data sets may both have a subject 1.
    person = [name for name in ("dataset", "subject") if name in metadata]
    rng = np.random.default_rng([seed, SPLIT])
    recording = np.zeros(0, int)
    for by, columns in (
        ("subject", person),
        ("recording", [*person, "session", "run", "recording"]),
    ):
        names = pd.DataFrame(metadata[columns]).drop_duplicates().sort_values(columns)
        recording = metadata.groupby(columns, sort=True, observed=True).ngroup().to_numpy()
        n_held_out = round(len(names) * fraction)
        unnamed = by == "subject" and bool((names["subject"] == "").any())
        if unnamed or not 1 <= n_held_out < len(names):
            continue
        chosen = np.sort(rng.permutation(len(names))[:n_held_out])
        mask = np.isin(recording, chosen)
        names_held_out = ["/".join(row) for row in names.iloc[chosen].itertuples(index=False)]
        return WindowSplit(everything[~mask], everything[mask], by, names_held_out)
    train, validation = [], []
    for _, rows in metadata[["start"]].reset_index(drop=True).groupby(recording, sort=True):
        order = pd.DataFrame(rows).sort_values("start")
        n_held_out = max(1, round(len(order) * fraction))
        validation += order.index[-n_held_out:].tolist()
        # A window that reaches into the held-out ones would show the model part of them.
        last_start = order["start"].iloc[-n_held_out] - window_s + 1e-6
        train += order.index[order["start"] <= last_start].tolist()
    if not train or not validation:
        raise ValueError(
            f"{len(metadata)} windows of {len(set(recording))} recordings leave {len(train)} to "
            f"train and {len(validation)} to validate; give more data, or validation_fraction 0"
        )
    by = "end of each recording"
    return WindowSplit(np.sort(np.array(train)), np.sort(np.array(validation)), by, [])


class MaskedSignalModelling(Task):
    """The training task: windows, a masked autoencoder, and held-out windows.

    Parameters
    ----------
    windows
        Scaled, unlabelled EEG.
    config
        Sizes, ``mask_ratio``, ``n_chans``, seed.

    Raises
    ------
    ValueError
        If windows and model do not fit (length and patch, channels), or no window is left.
    """

    def __init__(self, windows: WindowStore, config: PretrainConfig):
        self.windows, self.config = windows, config
        self._read = Prefetch(windows.read)
        self.any_montage = config.encoder.montage == "any"
        if config.channel_dropout and not self.any_montage:
            raise ValueError(
                f"channel_dropout is {config.channel_dropout:g}, expected 0 with encoder.montage "
                "fixed: such an encoder cannot do without a channel; set encoder.montage any"
            )
        self.n_chans = config.n_chans or (
            VIRTUAL_ELECTRODES if self.any_montage else windows.n_chans
        )
        self.split = split_windows(
            windows.metadata,
            windows.n_times / windows.sfreq,
            config.validation_fraction,
            config.seed,
        )
        if not self.any_montage:
            tile_channels(torch.empty(1, windows.n_chans, 1), self.n_chans)  # refuses early
            if len(windows.montages) > 1:
                logger.warning(
                    "%d montages train an encoder that knows channels by their number only; "
                    "set encoder.montage any for one that knows their places",
                    len(windows.montages),
                )
        sizes = config.encoder.model_dump()
        self.model = MaskedAutoencoder(self.n_chans, windows.n_times, **sizes)
        self.model.init_weights(step_generator(config.seed, 0, INIT))
        self.modules: dict[str, nn.Module] = {"mae": self.model}
        self.n_samples = len(self.split.train)
        self.given = {"digest of data": windows.digest}

    def batch(self, rows: np.ndarray) -> Placed:
        """Return windows as the encoder takes them, on its device.

        ``(B, n_chans, T)``, each tiled; with ``montage="any"`` ``(B, C, T)`` of the most channels
        in the batch, those that a window lacks NaN, and the positions of its electrodes.
        """
        device = self.model.mask_token.device
        read = self._read(rows)
        eeg, present = torch.from_numpy(read.eeg), torch.from_numpy(read.present)
        if self.config.clip:
            eeg = eeg.clamp(-self.config.clip, self.config.clip)
        if self.any_montage:
            positions = torch.from_numpy(read.positions).to(device)
            return Placed(mark_absent(eeg, ~present).to(device), positions)
        return Placed(tile_channels(eeg.to(device), self.n_chans, present.to(device)), None)

    def announce(self, indices: torch.Tensor) -> None:
        """Begin to read the windows, int64 ``(n,)``, that ``loss`` will be asked for."""
        self._read.announce(self.split.train[indices.numpy()])

    def loss(self, indices: torch.Tensor, draw: Draw) -> dict[str, torch.Tensor]:
        """Return the reconstruction loss of training windows, ``indices`` int64 ``(B,)``."""
        eeg, positions = self.batch(self.split.train[indices.numpy()])
        shown, share = None, self.config.channel_dropout
        if share:
            # As wide as the whole store: a sample's numbers do not depend on who is beside it.
            noise = draw.rand(self.windows.n_chans)[:, : eeg.shape[1]]
            shown = Placed(drop_channels(eeg, share, noise), positions)
        ratio = self.config.mask_ratio
        return {"loss": self.model(eeg, ratio, draw, positions, shown).loss}

    def validate(self) -> dict[str, float]:
        """Return loss and explained variance on held-out windows, under always the same masks."""
        n = len(self.split.validation)
        if not n:
            return {}
        spread = np.linspace(0, n - 1, min(n, VALIDATION_LIMIT)).round().astype(int)
        figures = self.measure(self.split.validation[spread])
        return {key: figures[key] for key in ("validation_loss", "explained_variance")}

    @torch.no_grad()
    def measure(self, rows: np.ndarray, control: bool = False) -> dict[str, float]:
        """Compare the reconstruction of hidden tokens with what needs no model.

        Parameters
        ----------
        rows
            int64 ``(n,)``, windows.
        control
            Add ``shuffled_eeg_loss``: the same hidden tokens predicted from the visible tokens of
            another window, which must be no better than ``baseline_zero``.

        Returns
        -------
        dict
            Mean squared errors over hidden tokens: ``validation_loss`` (the model),
            ``baseline_zero`` (the mean of the scaled signal), ``baseline_interpolation`` (a
            straight line between the visible time points); and ``explained_variance``,
            ``1 - validation_loss / baseline_zero``.
        """
        self.model.eval()
        patch_size, ratio = self.config.encoder.patch_size, self.config.mask_ratio
        sums: dict[str, float] = {}
        n_hidden = 0.0
        n_batches = -(-len(rows) // VALIDATION_BATCH)
        for number in range(n_batches):
            # Every n-th window: a batch then spans all that is held out, and the window half a
            # batch away, which serves as the control, is no neighbour.
            here = rows[number::n_batches]
            eeg, positions = self.batch(here)
            draw = self.validation_draw(number, len(here))
            _, pred, mask = self.model(eeg, ratio, draw, positions)
            guesses = {
                "validation_loss": pred,
                "baseline_zero": torch.zeros_like(pred),
                "baseline_interpolation": patchify(
                    interpolate_hidden(eeg, mask, patch_size), patch_size
                ),
            }
            if control and len(rows) > n_batches:
                shift = max(1, len(here) // 2)
                other = Placed(
                    eeg.roll(shift, 0), None if positions is None else positions.roll(shift, 0)
                )
                same_mask = self.validation_draw(number, len(here))
                control_pred = self.model(eeg, ratio, same_mask, positions, other).pred
                guesses["shuffled_eeg_loss"] = control_pred
            for name, guess in guesses.items():
                errors = token_errors(guess, eeg, patch_size)
                sums[name] = sums.get(name, 0.0) + float((errors * mask).sum())
            n_hidden += float(mask.sum())
        figures = {name: value / n_hidden for name, value in sums.items()}
        loss, zero = figures["validation_loss"], figures["baseline_zero"]
        return figures | {"explained_variance": 1 - loss / zero if zero else 0.0}

    def validation_draw(self, number: int, n: int) -> Draw:
        """Return the random numbers of a batch of ``n`` held-out windows, always the same."""
        return Draw(self.config.seed, number, n, stream=VALIDATION)


def interpolate_hidden(eeg: torch.Tensor, mask: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Draw straight lines across hidden tokens, ``eeg (B, C, T)``, ``mask (B, N)`` 1 = hidden.

    Absent channels become zeros.
    """
    signal = eeg.nan_to_num(0.0).cpu().numpy()
    hidden = mask.cpu().numpy().astype(bool).repeat(patch_size, axis=1)
    for window, gone in zip(signal, hidden, strict=True):
        there, lost = np.flatnonzero(~gone), np.flatnonzero(gone)
        for row in window:
            row[lost] = np.interp(lost, there, row[there])
    return torch.from_numpy(signal).to(eeg.device)


@with_keywords(PretrainConfig)
@writes_output(RESUMES)
def pretrain(config: PretrainConfig) -> Path:
    """Pre-train an encoder on the windows of ``config.data``.

    Interrupted in any way, the same call goes on from the last checkpoint and ends with the same
    weights.

    Parameters
    ----------
    config
        Or its fields as keywords: ``pretrain(data="runs/windows", steps=500)``.

    Returns
    -------
    pathlib.Path
        ``config.output``, which holds ``encoder/`` and ``mae/`` (diffusers folders),
        ``input.json`` (what the encoder was trained on), ``config.yaml``, ``log.jsonl``,
        ``checkpoints/``, ``reconstruction.png`` and ``scores.json``.

    Raises
    ------
    FileNotFoundError
        If there are no windows at ``config.data``.
    ValueError
        If windows, model and configuration do not fit, or ``config.output`` holds a run of another
        configuration.

    Examples
    --------
    >>> from dreamdiffusion import EEGEncoder, pretrain
    >>> folder = pretrain(data="windows", output="pretrained", steps=2, batch_size=4)
    >>> EEGEncoder.from_pretrained(folder / "encoder").config["n_chans"]
    4
    """
    windows = WindowStore.load(config.data)
    task = MaskedSignalModelling(windows, config)
    if config.init is not None:
        start_from(task.model, part_of(config.init, "mae"))
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    train_task(task, config, output, "pretrain")
    if not is_main_process():
        return output
    write_yaml(config, output / "config.yaml")
    task.model.eval()
    for name, model in (("encoder", task.model.encoder), ("mae", task.model)):
        with whole_folder(output / name) as folder:
            model.save_pretrained(folder)
    write_json(output / "input.json", describe_input(windows, config, task.n_chans))
    draw_typical(task, output / "reconstruction.png")
    scores = score(task, windows)
    write_json(output / "scores.json", scores)
    if scores["n"]:
        logger.info(
            "%s: %.1f %% of the variance of hidden tokens explained (held out: %s)",
            output,
            100 * scores["explained_variance"],
            scores["split"],
        )
    return output


@torch.no_grad()
def draw_typical(task: MaskedSignalModelling, path: Path) -> None:
    """Draw a typical reconstruction, not the best.

    The window is the one of median error among (at most 64) held-out windows, or training windows
    where none is held out.
    """
    task.model.eval()
    windows, patch_size = task.windows, task.config.encoder.patch_size
    held_out = len(task.split.validation) > 0
    rows = task.split.validation if held_out else task.split.train
    rows = rows[np.linspace(0, len(rows) - 1, min(64, len(rows))).round().astype(int)]
    eeg, positions = task.batch(rows)
    draw = task.validation_draw(0, len(rows))
    _, pred, mask = task.model(eeg, task.config.mask_ratio, draw, positions)
    errors = (token_errors(pred, eeg, patch_size) * mask).sum(dim=1)
    place = int(errors.argsort()[len(rows) // 2])
    draw_reconstruction(
        eeg[place].cpu().numpy(),
        unpatchify(pred[place : place + 1].float(), eeg.shape[1])[0].cpu().numpy(),
        mask[place].cpu().numpy().astype(bool).repeat(patch_size),
        windows.channels_of(int(rows[place])),
        windows.sfreq,
        f"{'simulated EEG' if windows.info.get('simulated') else 'EEG'}: a typical "
        f"{'held-out' if held_out else 'training'} window, "
        f"{task.config.mask_ratio:.0%} of its tokens hidden",
        path,
    )


def describe_input(windows: WindowStore, config: PretrainConfig, n_chans: int) -> dict[str, Any]:
    """Say what signal the encoder knows, for those who fine-tune it."""
    fixed = config.encoder.montage == "fixed"
    return {
        "montage": config.encoder.montage,
        "montages": windows.montages,
        "n_chans": n_chans,
        "tiled": fixed and any(len(names) != n_chans for names in windows.montages),
        "n_times": windows.n_times,
        "sfreq": windows.sfreq,
        "scale": windows.info.get("scale"),
        "signal": windows.info.get("signal"),
        "simulated": windows.info.get("simulated"),
    }


def score(task: MaskedSignalModelling, windows: WindowStore) -> dict[str, Any]:
    """Return the figures of all held-out windows with their split, n, baselines and control."""
    split = task.split
    scores: dict[str, Any] = {
        "split": f"validation, held out by {split.by}" if len(split.validation) else "none",
        "held_out": split.held_out,
        "n": len(split.validation),
        "n_train": len(split.train),
        "mask_ratio": task.config.mask_ratio,
        "simulated": windows.info.get("simulated"),
    }
    if len(split.validation):
        scores |= task.measure(split.validation, control=True)
    return scores
