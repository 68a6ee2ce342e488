"""Which formats are known, by the extensions of their files."""

from __future__ import annotations

from pathlib import Path

FORMATS = {
    ".edf": "EDF", ".bdf": "BDF", ".gdf": "GDF", ".vhdr": "BrainVision", ".set": "EEGLAB",
    ".fif": "FIF", ".fif.gz": "FIF", ".cnt": "Neuroscan or ANT CNT", ".mff": "EGI MFF",
    ".nxe": "eXimia NXE", ".eeg": "Nihon Kohden", ".lay": "Persyst", ".dap": "Curry",
    ".cdt": "Curry", ".csv": "Muse csv", ".tsv": "Muse csv", ".txt": "OpenBCI txt",
    ".zip": "OpenViBE csv", ".xdf": "XDF", ".xdfz": "XDF",
}  # fmt: skip
"""Extension -> format; of a text file its content says more. What is read from a folder of trials
(UCI EEG Database) has none."""
EXTENSIONS = tuple(FORMATS)
TEXT_FORMATS = (
    "Muse csv", "OpenViBE csv", "UCI EEG Database", "Mind Monitor csv", "Emotiv csv", "OpenBCI txt",
    "BrainFlow csv",
)  # fmt: skip
"""Read by readers of our own; microvolts by definition."""
TEXT_EXTENSIONS = (".csv", ".tsv", ".txt")
"""Of which the content says the format (`headsets`)."""


def extension_of(path: Path) -> str | None:
    """Return the known extension that a name ends in, in lower case; None: it has none."""
    name = path.name.lower()
    return next((e for e in sorted(EXTENSIONS, key=len, reverse=True) if name.endswith(e)), None)


def stem_of(path: Path) -> str:
    """Return a name without its known extension."""
    extension = extension_of(path)
    return path.name[: -len(extension)] if extension else path.name


def check_kind(path: Path) -> str:
    """Return the extension of a file that is there, known, of the right kind and not empty."""
    extension = extension_of(path)
    if extension is None:
        raise ValueError(
            f"{path}: unknown extension {path.suffix!r}; expected one of {', '.join(EXTENSIONS)}"
        )
    if path.is_dir() != (extension == ".mff"):
        found, wanted = ("folder", "file") if path.is_dir() else ("file", "folder")
        raise ValueError(f"{path} is a {found}, expected a {wanted} with the extension {extension}")
    if path.is_file() and not path.stat().st_size:
        raise ValueError(f"{path} is empty (0 bytes); copy it again")
    return extension
