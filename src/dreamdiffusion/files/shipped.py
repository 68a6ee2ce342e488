"""What comes with the package: configurations by name, weights wherever it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

PathOrId = TypeVar("PathOrId", str, Path)

CONFIGS = Path(__file__).parent / "configs"
# In a wheel the weights lie beside this file; in a checkout at its root.
WEIGHTS = (Path(__file__).parent / "weights", Path(__file__).parents[3] / "weights")


def config_names(command: str) -> list[str]:
    """Return the names of the configurations that are shipped for a command, sorted."""
    start = _start(command)
    return sorted(path.stem.removeprefix(start) for path in CONFIGS.glob(f"{start}*.yaml"))


def find_config(name: str | Path, command: str) -> Path:
    """Return the YAML file that ``--config`` names.

    Parameters
    ----------
    name
        Path of a file, or name of a shipped configuration of the command, such as ``muse``.
    command
        Such as ``pretrain``, or ``fit prior``, whose files are called ``fit-prior-NAME.yaml``.

    Raises
    ------
    FileNotFoundError
        If there is neither; the message lists the shipped ones.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = CONFIGS / f"{_start(command)}{name}.yaml"
    if len(path.parts) == 1 and shipped.is_file():
        return shipped
    names = ", ".join(config_names(command)) or "none"
    raise FileNotFoundError(
        f"config {name} is neither a file nor one that is shipped for {command} ({names})"
    )


def _start(command: str) -> str:
    return f"{command.replace(' ', '-')}-"


def find_weights(source: PathOrId) -> PathOrId:
    """Return a folder below ``weights/`` that exists: in the working directory, or the package's.

    Everything else comes back as it is: other paths, hub ids, and what lies nowhere.
    """
    path = Path(source)
    if path.parts[:1] != ("weights",) or path.exists():
        return source
    for root in WEIGHTS:
        found = root.joinpath(*path.parts[1:])
        if found.exists():
            return type(source)(found)
    return source
