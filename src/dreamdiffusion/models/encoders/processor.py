"""From trials in volts to what the encoder takes: the model's channels, their order and scale."""

from __future__ import annotations

import logging
from typing import Any

import mne
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from dreamdiffusion.models.encoders.tokens import tile_channels
from dreamdiffusion.trials.scaling import scale_matrix, scale_of_part, scale_trials
from dreamdiffusion.trials.trials import Trials

logger = logging.getLogger(__name__)


class EEGProcessor(ModelMixin, ConfigMixin):
    """Checks that EEG is what a model was trained on, and brings it to the model's scale.

    Parameters
    ----------
    ch_names
        Channels, in the order of the model.
    sfreq
        Hz.
    n_times
        Time points of a trial.
    tmin
        Time of the first one, s from stimulus onset.
    n_chans
        Channels of the encoder; where it has more than ``ch_names``, they are repeated cyclically.
    scale
        How the matrix was fitted, see `scaling.scale_matrix`; or ``trial``, which fits nothing, see
        `scaling.scale_trials`.
    signal
        Filters and reference the trials were prepared with, for the reader and for `prepare`.
    missing
        What becomes of channels that a recording lacks: ``raise``, or ``absent``, which an encoder
        for any montage does without.
    """

    @register_to_config
    def __init__(
        self,
        ch_names: list[str],
        sfreq: float,
        n_times: int,
        tmin: float = 0.0,
        n_chans: int | None = None,
        scale: str = "whiten",
        signal: dict[str, Any] | None = None,
        missing: str = "raise",
    ):
        super().__init__()
        self.n_chans = n_chans or len(ch_names)
        self.register_buffer("matrix", torch.eye(len(ch_names)))
        # A file in half precision would round the scale of every trial.
        self._keep_in_fp32_modules = ["matrix"]

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device; the scale stays in single precision, whatever the rest computes in."""
        kwargs.pop("dtype", None)
        where = [value for value in args if not isinstance(value, torch.dtype)]
        move: Any = super().to
        return move(*where, **kwargs) if where or kwargs else self

    @classmethod
    def fit(
        cls,
        trials: Trials,
        indices: np.ndarray,
        scale: str,
        n_chans: int,
        missing: str = "raise",
    ) -> EEGProcessor:
        """Fit the scale on the trials at ``indices``, int ``(n,)``: training trials."""
        processor = cls(
            ch_names=list(trials.ch_names),
            sfreq=trials.sfreq,
            n_times=trials.n_times,
            tmin=trials.tmin,
            n_chans=n_chans,
            scale=scale,
            signal=trials.signal,
            missing=missing,
        )
        if scale != "trial":
            matrix = scale_matrix(np.asarray(trials.data[indices]), scale)
            processor.matrix.copy_(torch.from_numpy(matrix))
        return processor

    def forward(
        self,
        eeg: np.ndarray | mne.BaseEpochs,
        ch_names: list[str] | None = None,
        sfreq: float | None = None,
    ) -> torch.Tensor:
        """Return EEG at the model's scale, float32 ``(n, n_chans, n_times)``; absent channels NaN.

        Parameters
        ----------
        eeg
            Epochs, or volts ``(n, channels, n_times)`` with ``ch_names`` and ``sfreq``.

        Raises
        ------
        ValueError
            If channels are missing, or the rate, the window or the unit is not the model's.
        """
        data, ch_names, sfreq = self._unpack(eeg, ch_names, sfreq)
        wanted = list(self.config["ch_names"])
        present = [name for name in wanted if name in ch_names]
        missing = ", ".join(name for name in wanted if name not in ch_names)
        if missing and (self.config["missing"] == "raise" or not present):
            raise ValueError(
                f"the EEG lacks the channels {missing}; the model was trained on "
                f"{', '.join(wanted)}"
            )
        if missing:
            logger.warning("the EEG lacks the channels %s; the model does without", missing)
        if abs(sfreq - self.config["sfreq"]) > 1e-6 * sfreq:
            raise ValueError(
                f"the EEG has {sfreq:g} Hz, the model expects {self.config['sfreq']:g}; resample it"
            )
        if data.shape[2] != self.config["n_times"]:
            raise ValueError(
                f"the EEG has {data.shape[2]} time points a trial, the model expects "
                f"{self.config['n_times']} from {self.config['tmin']:g} s after onset"
            )
        if not np.isfinite(data).all():
            bad = int(np.flatnonzero(~np.isfinite(data).all(axis=(1, 2)))[0])
            raise ValueError(f"trial {bad} holds values that are not finite; reject it")
        largest = float(np.abs(data).max(initial=0.0))
        if largest > 0.1:
            raise ValueError(
                f"the EEG reaches {largest:g} V, expected volts (about 1e-5); divide by 1e6 if "
                "these are microvolts"
            )
        places = [wanted.index(name) for name in present]
        ordered = np.asarray(data[:, [ch_names.index(name) for name in present]], dtype=np.float32)
        scaled = torch.full((len(ordered), len(wanted), ordered.shape[2]), torch.nan)
        scaled[:, places] = torch.from_numpy(self._scale(ordered, places)).float()
        return tile_channels(scaled, self.n_chans)

    def _scale(self, eeg: np.ndarray, places: list[int]) -> np.ndarray:
        """Scale the channels that are there, ``(n, len(places), n_times)``."""
        if self.config["scale"] == "trial":
            return scale_trials(eeg)
        # In volts float32 would still do, but products of 1e-5 with 1e5 are better done in float64.
        return scale_of_part(self.matrix.double().cpu().numpy(), places) @ eeg.astype(np.float64)

    def _unpack(
        self, eeg: np.ndarray | mne.BaseEpochs, ch_names: list[str] | None, sfreq: float | None
    ) -> tuple[np.ndarray, list[str], float]:
        if isinstance(eeg, mne.BaseEpochs):
            start = int(np.argmin(np.abs(eeg.times - self.config["tmin"])))
            data = eeg.get_data(copy=True)[:, :, start : start + self.config["n_times"]]
            return data, list(eeg.ch_names), float(eeg.info["sfreq"])
        if ch_names is None or sfreq is None:
            raise ValueError("an EEG array needs ch_names and sfreq beside it")
        data = np.asarray(eeg)
        if data.ndim != 3 or data.shape[1] != len(ch_names):
            raise ValueError(
                f"the EEG has shape {data.shape} and {len(ch_names)} ch_names, expected "
                "(n_trials, n_chans, n_times)"
            )
        return data, list(ch_names), float(sfreq)


# Saved pipelines name the module of each part: the package's own, which no later move can break.
EEGProcessor.__module__ = "dreamdiffusion"
