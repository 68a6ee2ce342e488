"""Faces and houses seen with a Muse headset (the N170 experiment of muse-lsl)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dreamdiffusion.datasets.base import PublicDataset
from dreamdiffusion.files.download import RemoteFile
from dreamdiffusion.recordings.find import find_recordings
from dreamdiffusion.recordings.read import read_recording
from dreamdiffusion.recordings.recording import Recording

_REPOSITORY = "https://raw.githubusercontent.com/alexandrebarachant/muse-lsl"
_PICTURES_AT = "53c07a324ee43902beb373db8062fad532d520bb"
# Where the recordings of subject 1 lie: time of day, revision that holds it, sha256.
_RECORDINGS = [
    (
        "15.30.01",
        "8d73e029037d4a62bbfea6f488bd8dff3b9a8b33",
        "f0b0732555601a258f0764f4c3f4d6d8826977893b4fd2a742199f34e2d3ca99",
    ),
    (
        "15.32.50",
        "53c07a324ee43902beb373db8062fad532d520bb",
        "77d013eadb1af31e2f8aa07733e4027cf338119ca7bd5af054b10f2b92cf959e",
    ),
    (
        "15.35.26",
        "8d73e029037d4a62bbfea6f488bd8dff3b9a8b33",
        "ea9c15c8a96e501fbd5a042a97b651c36e73813e09c7d305a26f8e3a5aab5939",
    ),
    (
        "15.40.17",
        "205d1a3890aee5d74b79f3724692d4fcdc84daf8",
        "6fb52e15b0bbbd268147f3950688a1d10cca7532c06997762905617ca8fb0f75",
    ),
    (
        "15.42.33",
        "8d73e029037d4a62bbfea6f488bd8dff3b9a8b33",
        "b8b2de836288ea2ee0fcff88261cf153fc69389c9780059041471d4f4921d15a",
    ),
    (
        "15.45.08",
        "205d1a3890aee5d74b79f3724692d4fcdc84daf8",
        "e80e5280bff9aef8ea05abff9e394c57623fcaad7685ed6b690766f139dacf11",
    ),
]
# The pictures that the experiment draws from, with their sha256.
_PICTURES = """
b61106f0486b1705478a6329469fc5d59d70106685510d8c50c5e33ba63e9095 faces/Annie_3.jpg
1658c618b83615166e54a39cb09cb58aae660cbdfc0602d66ca1a7aff330ac7e faces/Blake_3.jpg
51cfc067c0d117212b9b78131097a597334bf0cc42f0608edc5b0ae02ab23905 faces/Don_3.jpg
2164735102df6ce5b939a3f45c42c5d696e115a43d87d17a605c1faa29d245a1 faces/Estelle_3.jpg
d5c88ca63f3d73fc3e654e03a998f8a1c8cb3e1ce7df1a67bc2d186a5a3f513a faces/Frank_3.jpg
ad5970618a5560ba92502a7d4d3d083f85800fa7c4e46bec18b69d36a77fbc56 faces/Janie_3.jpg
3851f6c56da5b92412e21832e4198fd6ff624a51ef66d647d079a678b067e026 faces/Joan_3.jpg
d422cc9c9aaf6450f55091b2da777f4d67356d9ba5834195101400af38895da0 faces/Jodi_3.jpg
5ef1a5a460ba67186ed49a9bf92a2b3cb81d46780b37f9f89ae44bdd84e11587 faces/Joe_3.jpg
42e887c9c25f4705db93209949efb235cdcb14b65f18568f9176a9c6295988eb faces/Tim_3.jpg
43a1e70e0cae67a15c18b1d65b44c8ae4cf141ef4b6ac3936c602e996baa1a05 faces/Tom_3.jpg
c878141ead9683de05218c77a168812670bf26e1a10460192da7bc2d7c9060bb faces/Wallace_3.jpg
3cffb2c9705a6d4b9953824a7939abb2f57f89d5dd76318e5c1f31b659917951 houses/house1.3.jpg
cbd89e857c0b3108daee3b083897817699eb9b3e0e6ed5e99d7b82a817c6674a houses/house10.3.jpg
4c05b751a6c402dd1f0c91194634f66782c90c98ea2df936762fd026900034ec houses/house11.3.jpg
406958305d98c2468ca014c049df6a5474331de831510fc743ced6d5e2e2a7eb houses/house12.3.jpg
58d011f1ac2c267ed7100d7da91cfb02e2aafe2314d750412fadaccb37268eec houses/house2.3.jpg
101fa997f1a4685c32c800c0746032ea99d7d14dfb804ae303000b8dba1ffc05 houses/house3.3.jpg
cc86fb9b1ba2e0c36be076dfb85a8d7b29446cc9da788548d3d2254e6d23cc3d houses/house4.3.jpg
608b6458bb688cc8c61d876a1e791d2d3b5c990cac58e66a78225db24aecab15 houses/house5.3.jpg
84213a141875eabe80a9007254abc3a7a04794ad76b05694047c9da98933b1ff houses/house6.3.jpg
50f47564da68abec8ca08b964b5e3b4f603744f299c18b85bf93cad06ad87b1a houses/house7.3.jpg
03222ad46f5c3e1e0fa0a673c4e3a142be2c16a0944d6d3cecd9e2a93045ff3a houses/house8.3.jpg
e1d0e133d42079cd16b5a51667c40b5c11d62c1c02d8bbe14f5ce6d5fb1459e9 houses/house9.3.jpg
"""


class MuseN170(PublicDataset):
    """Photos of faces and houses; only the class of the photo of each trial is recorded."""

    name = "muse-n170"
    title = "Muse N170: faces and houses with a 4-channel headset"
    licence = "BSD-3-Clause (the recordings); CC BY-SA 3.0 (the photos, of Haxby et al. 2001)"
    doi = "none: published as files of a code repository"
    url = "https://github.com/alexandrebarachant/muse-lsl"
    device = "InteraXon Muse, 4 dry electrodes and an auxiliary one"
    n_subjects = 2
    n_chans = 4
    sfreq = 256.0
    shown = "grey photos of faces and houses for 0.2 s, in random order"
    caveat = (
        "Which photo was shown is not recorded, only its class, and training and test share the 24 "
        "photos: a score speaks about face or house, not about the photo. Two people."
    )
    citation = "A. Barachant et al., muse-lsl; photos: Haxby et al. 2001, Science 293:2425"
    subjects = ("1", "2")
    pictures = "stimuli"
    layout = (
        "subject{subject}/session<n>/<any>.csv",
        "stimuli/faces/*.jpg",
        "stimuli/houses/*.jpg",
    )
    by_hand = (
        "fetch gets subject 1 and the photos. Subject 2 is part of "
        "https://github.com/NeuroTechX/eeg-notebooks_v0.1 (revision 5ee39e4): put its csv files of "
        "2018-04-15 into subject2/session1/."
    )
    settings: ClassVar[Mapping[str, Any]] = {  # those of prepare-n170.yaml
        "tmax": 0.75,
        "pair_by": "category",
        "events": {"houses": 1, "faces": 2},
        "signal": {
            "picks": ["TP9", "AF7", "AF8", "TP10"],
            "l_freq": 1.0,
            "h_freq": 30.0,
            "sfreq": 256.0,
            "reject_uv": 100.0,
        },
    }

    def remote_files(self, subjects: Sequence[str]) -> list[RemoteFile]:
        """Return the photos and, where it is asked for, the recordings of subject 1."""
        files = []
        for sha256, path in (line.split() for line in _PICTURES.split("\n") if line):
            url = f"{_REPOSITORY}/{_PICTURES_AT}/stimulus_presentation/stim/face_house/{path}"
            files.append(RemoteFile(url, f"stimuli/{path}", sha256=sha256))
        for time, revision, sha256 in _RECORDINGS if "1" in subjects else []:
            path = f"subject1/session1/data_2017-09-13-{time}.csv"
            url = f"{_REPOSITORY}/{revision}/data/visual/N170/{path}"
            files.append(RemoteFile(url, path, sha256=sha256))
        return files

    def recordings(self, root: Path, subjects: Sequence[str]) -> Iterator[Recording]:
        """Yield one recording per csv."""
        people = self.people(root, subjects, "subject{subject}")
        folders = [root / f"subject{person}" for person in people]
        for path in find_recordings(folders):
            yield read_recording(path)
