"""What every command that writes a folder has in common: one at a time, and a full disk explained.

A stage is decorated with `writes_output`. It then holds its output folder while it runs, and an
error of the disk says which file, why, what stays and how to go on.
"""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from dreamdiffusion.files.locks import hold
from dreamdiffusion.files.whole import DISK_ERRORS, DiskError, as_disk_error

RESUMES = "what is finished in {output} stays and is not done again"
ANEW = "{output} is not complete"
UNCHANGED = "{output} is as it was before"
_FIXES = {
    errno.EFBIG: "raise the limit of the size of a file (ulimit -f)",
    errno.EIO: "see whether the disk is sound",
}

P = ParamSpec("P")
Result = TypeVar("Result")


class HasOutput(Protocol):
    """A configuration that names the folder to write."""

    @property
    def output(self) -> Path: ...


Config = TypeVar("Config", bound=HasOutput)
WritingCommand = Callable[Concatenate[Config, P], Result]


def writes_output(
    stays: str = ANEW, shared: bool = False
) -> Callable[[WritingCommand[Config, P, Result]], WritingCommand[Config, P, Result]]:
    """Decorate a command, ``command(config, ...)``, that writes the folder ``config.output``.

    Parameters
    ----------
    stays
        What remains after an error of the disk: `RESUMES`, `ANEW`, `UNCHANGED`, or words of its
        own with ``{output}`` in place of the folder.
    shared
        Several processes may work in one folder, because the command itself keeps them apart.
    """

    def decorate(command: WritingCommand[Config, P, Result]) -> WritingCommand[Config, P, Result]:
        name = command.__name__.replace("_", "-")

        @functools.wraps(command)
        def run(config: Config, *args: P.args, **kwargs: P.kwargs) -> Result:
            output = Path(config.output)
            with explaining_disk_errors(output, stays):
                if shared:
                    return command(config, *args, **kwargs)
                with hold(output, name):
                    return command(config, *args, **kwargs)

        run.__dict__["stays"] = stays  # marks it: a test looks for it on every command
        return run

    return decorate


@contextlib.contextmanager
def explaining_disk_errors(output: Path, stays: str) -> Iterator[None]:
    """Say what stays and how to go on where the disk is full, a quota or a limit is reached.

    Raises
    ------
    DiskError
        With the file, and in its text the cause, what stays and how to go on.
    """
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        found = as_disk_error(error, output)
        if found is None or found.errno not in DISK_ERRORS:
            raise
        raise DiskError(
            found.errno,
            f"{found.strerror}; {stays.format(output=output)}; "
            f"{_FIXES.get(found.errno, 'free some space')} and give the same command again",
            found.filename,
        ) from error
