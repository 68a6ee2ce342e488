"""Gratings of known spatial frequency and orientation, seen with a Muse headset (muse-lsl)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from dreamdiffusion.datasets.base import PublicDataset, need
from dreamdiffusion.files.download import RemoteFile
from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

_REPOSITORY = "https://raw.githubusercontent.com/alexandrebarachant/muse-lsl"
_REVISION = "d95f4d9e70c3524437ba36f1d899897b9f1858c0"
_RECORDINGS = """
de3e8e639875cca765f76a70abcce4f80c28c649c1e195063012b897890f35e0 2017-08-09-19.39.16
b046b7fcf43a8efed717bf4542dd203f6201ba32738ccd6d046d413202f51a9e 2017-08-09-19.52.30
3e625ca72d6d549419ad488b0975a58e595ffdeee612943352587cb19aed14ef 2017-08-09-19.54.47
7d4cd7fe0b24268ed7ee8413d82dc7b6737b3b87dd8d06a9c7e7611e5ba3d76f 2017-08-09-20.39.41
c72a23137ed018bef082a9c828625942bbf8b0e6af1b2b76897a2e7858658a3e 2017-08-09-20.40.53
201c25659897992095515e59fb3e14ac0a5901f12d45956a05e73f82b618a669 2017-08-09-20.42.02
e49f94bc40a06070af1f473249a14cce74c1d366fbe1ffab976e6758112d6ab0 2017-08-09-20.53.09
a6821c52dbef521b1e5447b3eddcd3f85334b9ed24c2c6fcf873cf67e3fb5413 2017-08-09-21.02.06
8f65bfd4e07e3abf9fcf75c7a8d76d18bdb6b22611902b0ef67efe8be576400e 2017-08-09-21.26.55
07c7bf2a4f641b42aaa5c05721ca1191b066f8f4a6d3a4fe6945bcf57d22d644 2017-08-09-21.29.07
3ef0cb701aa5793b4dae0fa710369aa82484c4ac6ff4f24c48ac3ca52ff46f56 2017-08-09-21.30.17
8668e51ff5e1a42b2d3145bbfb8186d35905b7eb6fa7c32e40d64c13c6741fca 2017-08-09-21.31.29
939083195697220cb64a82d0125dbe92798100b0402634160d2bcd9c1eba1a5f 2017-08-18-15.05.09
d13e7ad30ed0e4c6993a4e8fd398c40d60e37b20d5b39ccec9b6363c3ad8af4b 2017-08-18-15.09.40
"""
CYCLES_PER_DEGREE = {"low": 0.1, "high": 4.1}  # 4 * code + 0.1 in the experiment's script
ORIENTATIONS = (0, 45, 90, 135)
SIZE_DEGREES = 40
SIZE = 512  # pixels: 3 for each cycle of the finer grating


class MuseGratings(PublicDataset):
    """Gratings; which of the 8 was shown is known for every trial, so they are drawn again.

    `category` is the spatial frequency (`low`, `high`), `Orientation` the angle in degrees. The
    pictures are drawn into the folder `muse-gratings-stimuli` beside the output, unless
    `stimuli` names one.
    """

    name = "muse-gratings"
    title = "Muse gratings: 2 spatial frequencies x 4 orientations with a 4-channel headset"
    licence = "BSD-3-Clause"
    doi = "none: published as files of a code repository"
    url = "https://github.com/alexandrebarachant/muse-lsl"
    device = "InteraXon Muse, 4 dry electrodes and an auxiliary one at the back of the head"
    n_subjects = 1
    n_chans = 4
    sfreq = 256.0
    shown = "round gratings for 1.5 s: 0.1 or 4.1 cycles per degree, 0, 45, 90 or 135 degrees"
    caveat = (
        "Every run repeats the same pseudo-random order, so the position in the run tells the "
        "grating: holding out a run does not help. One person. The auxiliary electrode (Right AUX, "
        "kept only if picked) is flat in the last two runs."
    )
    citation = "A. Barachant et al., muse-lsl"
    subjects = ("0",)
    layout = ("subject{subject}/session<n>/<any>.csv",)
    settings: ClassVar[Mapping[str, Any]] = {
        "tmax": 0.75,
        "events": {"low": 1, "high": 2},
        "signal": {
            "picks": ["TP9", "AF7", "AF8", "TP10"],
            "l_freq": 1.0,
            "h_freq": 30.0,
            "sfreq": 256.0,
            "reject_uv": 100.0,
        },
    }

    def remote_files(self, subjects: Sequence[str]) -> list[RemoteFile]:
        """Return the recordings; the pictures are drawn."""
        files = []
        for sha256, time in (line.split() for line in _RECORDINGS.split("\n") if line):
            path = f"subject0/session1/data_{time}.csv"
            url = f"{_REPOSITORY}/{_REVISION}/data/visual/spatial_freq/{path}"
            files.append(RemoteFile(url, path, sha256=sha256))
        return files

    def resolve(self, config: PrepareConfig, root: Path) -> PrepareConfig:
        """Add the folder of the drawn pictures to the data set's own settings."""
        config = super().resolve(config, root)
        if config.stimuli is None:
            folder = config.output.parent / f"{self.name}-stimuli"
            config = config.model_copy(update={"stimuli": folder})
        return config

    def load(self, root: Path, subjects: Sequence[str], config: PrepareConfig) -> Trials:
        """Draw what is missing of the 8 pictures; then as `PublicDataset.load`."""
        assert config.stimuli is not None  # resolve has named it
        draw_gratings(config.stimuli)
        return super().load(root, subjects, config)

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield one recording per csv, with the picture of every event."""
        people = self.choose(subjects)
        for path in find_recordings([need(root / f"subject{person}", self) for person in people]):
            recording = read_recording(path)
            events = recording.events
            if events is None or "Orientation" not in events:
                raise ValueError(f"{path} has no column Orientation, so it is not of this data set")
            # Codes 1 and 2 are onsets; 3 and 4, the offsets, are left out by `events`.
            frequencies = np.where(events["code"] % 2 == 1, "low", "high")
            events["stim_file"] = [
                _file(frequency, orientation)
                for frequency, orientation in zip(frequencies, events["Orientation"], strict=True)
            ]
            yield recording


def draw_gratings(folder: Path) -> None:
    """Write the 8 pictures, those that are missing: sine gratings in a disc on grey."""
    folder.mkdir(parents=True, exist_ok=True)
    degrees = (np.arange(SIZE) + 0.5) / SIZE * SIZE_DEGREES - SIZE_DEGREES / 2
    x, y = np.meshgrid(degrees, degrees)
    inside = x**2 + y**2 <= (SIZE_DEGREES / 2) ** 2
    for name, frequency in CYCLES_PER_DEGREE.items():
        for angle in ORIENTATIONS:
            path = folder / _file(name, angle)
            if path.is_file():
                continue
            # Orientation 0 are vertical bars; it turns clockwise (PsychoPy's convention).
            along = x * np.cos(np.deg2rad(angle)) + y * np.sin(np.deg2rad(angle))
            wave = np.where(inside, np.sin(2 * np.pi * frequency * along), 0.0)
            pixels = np.round(127.5 + 127.5 * wave).astype(np.uint8)
            write_picture(path, Image.fromarray(pixels))


def _file(frequency: str, orientation: float) -> str:
    return f"{frequency}-{round(orientation):03d}.png"
