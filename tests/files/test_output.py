"""Commands that write a folder: they hold it, and say what a full disk leaves and how to go on."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_disk import files_of_at_most

from dreamdiffusion.files.locks import hold
from dreamdiffusion.files.output import RESUMES, UNCHANGED, writes_output
from dreamdiffusion.files.whole import HOLDER, DiskError, write_text


@dataclass
class Config:
    output: Path
    size: int = 10


@writes_output(RESUMES)
def write_many(config: Config, count: int = 1) -> list[str]:
    """Write a few files."""
    held = [path.name for path in config.output.iterdir()]
    for number in range(count):
        write_text(config.output / f"{number}.txt", "x" * config.size)
    return held


@writes_output(UNCHANGED)
def write_again(config: Config) -> None:
    write_many(config)


def test_a_command_keeps_its_name_and_arguments_and_holds_its_folder(tmp_path: Path) -> None:
    assert write_many.__name__ == "write_many" and write_many.__doc__ == "Write a few files."
    assert HOLDER in write_many(Config(tmp_path / "a"), count=2)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["0.txt", "1.txt"]
    assert HOLDER in write_many(config=Config(tmp_path / "b"))
    write_again(Config(tmp_path / "c"))  # one holds the folder for the other
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["0.txt"]


def test_a_full_disk_says_file_cause_what_stays_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(DiskError) as caught, files_of_at_most(1000):
        write_many(Config(folder, size=2000))
    assert caught.value.filename == str(folder / "0.txt")
    assert caught.value.strerror == (
        f"File too large; what is finished in {folder} stays and is not done again; raise the "
        "limit of the size of a file (ulimit -f) and give the same command again"
    )
    assert not folder.exists()  # nothing was finished


def test_the_inner_command_knows_best_what_stays(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="is not done again") as caught, files_of_at_most(1000):
        write_again(Config(tmp_path / "a", size=2000))
    assert str(caught.value.strerror).count(";") == 2


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space and"),
        (errno.EDQUOT, "free some space"),
        (errno.EIO, "sound"),
    ],
)
def test_the_advice_follows_the_cause(tmp_path: Path, number: int, advice: str) -> None:
    @writes_output()
    def fail(config: Config) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(DiskError, match=advice) as caught:
        fail(Config(tmp_path / "a"))
    assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / "a"))
    assert f"{os.strerror(number)}; {tmp_path / 'a'} is not complete; " in str(caught.value)


def test_errors_that_are_not_of_the_disk_pass(tmp_path: Path) -> None:
    @writes_output()
    def fail(config: Config) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "data")

    with pytest.raises(FileNotFoundError, match="'data'"):
        fail(Config(tmp_path / "a"))


def test_a_shared_folder_is_not_held(tmp_path: Path) -> None:
    @writes_output(shared=True)
    def share(config: Config) -> bool:
        return config.output.exists()

    assert share(Config(tmp_path / "a")) is False
    with hold(tmp_path, "other"):
        assert share(Config(tmp_path)) is True
