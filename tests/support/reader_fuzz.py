"""Mutated files of every format, read in a process that is watched: `make fuzz`.

    python tests/support/reader_fuzz.py --count 2000 --seed 0

A file is read, or refused by a ValueError or OSError that names it. Failures are: any other
exception, an error without the name, more than `SECONDS`, more than `MEMORY`. What is read with
other data than before is listed by kind.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS, MEMORY = 20.0, 2 << 30
NUMBERS = (b"0", b"-1", b"1e308", b"99999999999999999999", b"nan", b"inf", b"0.5", b"")


class Outcome(NamedTuple):
    """What became of one mutated file."""

    file: str
    """Format, and the file that was mutated."""
    mutation: str
    what: str
    """`same`, `other`, `refused`, or a failure: `raw`, `unnamed`, `hang`, `memory`, `died`."""
    detail: str


FAILURES = ("raw", "unnamed", "hang", "memory", "died")


# --- mutations --------------------------------------------------------------------------------


def _somewhere(content: bytearray, rng: np.random.Generator) -> int:
    """Half of them in the first 3000 bytes, where headers are."""
    stop = len(content) if rng.random() < 0.5 else min(3000, len(content))
    return int(rng.integers(max(stop, 1)))


def flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 9))):
        content[_somewhere(content, rng)] ^= 1 << int(rng.integers(8))


def random_run(content: bytearray, rng: np.random.Generator) -> None:
    at, n = _somewhere(content, rng), int(rng.integers(1, 65))
    content[at : at + n] = rng.bytes(len(content[at : at + n]))


def constant_run(content: bytearray, rng: np.random.Generator) -> None:
    at, n = _somewhere(content, rng), int(rng.integers(1, 65))
    content[at : at + n] = bytes([int(rng.choice([0, 32, 255]))]) * len(content[at : at + n])


def delete_run(content: bytearray, rng: np.random.Generator) -> None:
    at = _somewhere(content, rng)
    del content[at : at + int(rng.integers(1, 300))]


def repeat_run(content: bytearray, rng: np.random.Generator) -> None:
    at, n = _somewhere(content, rng), int(rng.integers(1, 300))
    content[at:at] = content[at : at + n]


def insert_run(content: bytearray, rng: np.random.Generator) -> None:
    at = _somewhere(content, rng)
    content[at:at] = rng.bytes(int(rng.integers(1, 65)))


def cut_off(content: bytearray, rng: np.random.Generator) -> None:
    del content[int(rng.integers(len(content))) :]


def swap_runs(content: bytearray, rng: np.random.Generator) -> None:
    a, b, n = _somewhere(content, rng), _somewhere(content, rng), int(rng.integers(1, 65))
    if max(a, b) + n <= len(content) and abs(a - b) >= n:
        content[a : a + n], content[b : b + n] = content[b : b + n], content[a : a + n]


def change_integer(content: bytearray, rng: np.random.Generator) -> None:
    at = _somewhere(content, rng)
    width = int(rng.choice([2, 4, 8]))
    value = int(rng.choice([0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
    order = "little" if rng.random() < 0.5 else "big"
    new = (value % 256**width).to_bytes(width, order)  # pyright: ignore[reportArgumentType]
    content[at : at + width] = new[: len(content[at : at + width])]


def change_number(content: bytearray, rng: np.random.Generator) -> None:
    """Put another number where digits are, in text of fixed width or free."""
    at = _somewhere(content, rng)
    while at < len(content) and not 48 <= content[at] <= 57:
        at += 1
    stop = at
    while stop < len(content) and 48 <= content[stop] <= 57:
        stop += 1
    new = NUMBERS[int(rng.integers(len(NUMBERS)))]
    content[at:stop] = new.ljust(stop - at)[: stop - at] if rng.random() < 0.5 else new


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    flip_bits, random_run, constant_run, delete_run, repeat_run, insert_run, cut_off, swap_runs,
    change_integer, change_number,
)  # fmt: skip


def mutate(path: Path, rng: np.random.Generator) -> str:
    """Change a file, or what it unpacks to; return what was done."""
    content = bytearray(path.read_bytes())
    inside = content[:2] in (b"\x1f\x8b", b"PK") and rng.random() < 0.5
    packed = ""
    if inside and content[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            packed = archive.namelist()[0]
            content = bytearray(archive.read(packed))
    elif inside:
        content = bytearray(gzip.decompress(content))
    names = []
    for _ in range(1 if rng.random() < 0.7 else 2):
        change = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        if content:
            change(content, rng)
        names.append(change.__name__)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(packed, bytes(content))
    else:
        path.write_bytes(gzip.compress(content, 1) if inside else content)
    return "+".join(names) + (" inside" if inside else "")


# --- the process that reads -------------------------------------------------------------------


def look_at(path: Path) -> dict[str, Any]:
    """Read a file and describe what came of it, in plain values."""
    from dreamdiffusion.recordings.read import read_recording

    try:
        # The one file that does not say what it holds.
        board = "MUSE_2_BOARD" if path.name == "brainflow.csv" else None
        recording = read_recording(path, board=board)
    except Exception as error:
        cause, chain = error, [error]
        while (cause := cause.__cause__ or cause.__context__) is not None and len(chain) < 20:
            chain.append(cause)
        text = f"{type(error).__name__}: {error}"
        if any(isinstance(one, MemoryError) for one in chain):
            return {"what": "memory", "detail": text}
        if not isinstance(error, ValueError | OSError):
            return {"what": "raw", "detail": text}
        named = str(path.parent) in str(error) or "dataset_description" in str(error)
        return {"what": "refused" if named else "unnamed", "detail": text}
    raw, events = recording.raw, recording.events
    parts = {
        "samples": recording.sha256,
        "rate": float(raw.info["sfreq"]),
        "length": int(raw.n_times),
        "names": list(map(str, raw.ch_names)),
        "types": raw.get_channel_types(),
        "events": [] if events is None else events.to_csv(index=False),
        "gaps": [f"{a['onset']:.6f} {a['description']}" for a in raw.annotations],
        "who": [recording.subject, recording.session, recording.run],
    }
    if len(parts["names"]) == len(set(parts["names"])) and parts["length"] and parts["rate"] > 0:
        return {"what": "read", "parts": {k: _digest(v) for k, v in parts.items()}}
    return {"what": "raw", "detail": f"read as {parts['length']} samples at {parts['rate']} Hz"}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def worker() -> None:
    """Read the files named on standard input, one a line; answer with a line of JSON each."""
    import logging
    import warnings

    import mne_bids  # noqa: F401  so that importing does not count
    import pymatreader  # noqa: F401

    import dreamdiffusion.recordings.read  # noqa: F401

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for line in sys.stdin:
        print(json.dumps(look_at(Path(line.rstrip("\n")))), file=out, flush=True)


class Reader:
    """A process that reads files; one that hangs is ended and replaced."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> dict[str, Any]:
        """Return what `look_at` says, or `hang` or `died`."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            seconds = 120.0  # it imports
        else:
            seconds = SECONDS
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], seconds)
            line = process.stdout.readline() if ready else None
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        self.close()
        if line is None:
            return {"what": "hang", "detail": f"more than {seconds:g} s"}
        return {"what": "died", "detail": f"exit status {process.returncode}"}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None


# --- the run ----------------------------------------------------------------------------------


def originals(folder: Path) -> dict[str, Path]:
    """Write one recording in every format; return format -> the file to read."""
    from epoch_files import write_epochs_eeglab, write_epochs_fif
    from headset_files import (
        write_brainflow,
        write_eegid,
        write_openbci,
        write_sd_card,
        write_testbench,
    )
    from recording_files import FORMATS
    from vendor_files import write_eximia, write_neuroscan, write_persyst

    writers = {name: form.write for name, form in FORMATS.items()}
    writers |= {"epochs, fif": write_epochs_fif, "epochs, eeglab": write_epochs_eeglab}
    writers |= {"neuroscan": write_neuroscan, "persyst": write_persyst, "eximia": write_eximia}
    writers |= {"openbci": write_openbci, "sd card": lambda folder: write_sd_card(folder)[0]}
    writers |= {"brainflow": write_brainflow, "eegid": write_eegid, "testbench": write_testbench}
    found = {}
    for name, write in writers.items():
        place = folder / name
        place.mkdir(parents=True)
        path = write(place)
        found[name] = path
    return found


def fuzz(
    count: int, seed: int = 0, keep: Path | None = None, only: str | None = None
) -> list[Outcome]:
    """Mutate `count` files, each format in turn, and read them.

    Parameters
    ----------
    keep
        Folder for the files that failed.
    only
        Name of the one format to mutate.
    """
    reader, outcomes = Reader(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = originals(folder / "originals")
        before = {name: reader.read(path) for name, path in sources.items()}
        for name, answer in before.items():
            if answer["what"] != "read":
                raise RuntimeError(f"the {name} as written: {answer}")
        names = [only] if only else list(sources)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            name = names[number % len(names)]
            root = folder / "originals" / name
            copy = folder / "mutated"
            shutil.copytree(root, copy)
            files = sorted(p for p in copy.rglob("*") if p.is_file())
            chosen = files[int(rng.integers(len(files)))]
            mutation = mutate(chosen, rng)
            answer = reader.read(copy / sources[name].relative_to(root))
            what, detail = answer["what"], answer.get("detail", "")
            if what == "read":
                parts = before[name]["parts"]
                changed = [key for key, value in answer["parts"].items() if value != parts[key]]
                what, detail = ("other", ", ".join(changed)) if changed else ("same", "")
            if what in FAILURES and keep is not None:
                shutil.copytree(copy, keep / f"{what}-{number:05d}-{name}")
            outcomes.append(Outcome(f"{name}: {_kind(chosen)}", mutation, what, detail))
            shutil.rmtree(copy)
    reader.close()
    return outcomes


def _kind(path: Path) -> str:
    name = path.name.split("run-1_")[-1]
    return name if name.endswith((".tsv", ".json")) else "".join(path.suffixes[-2:])


def summary(outcomes: list[Outcome]) -> str:
    """Say how many of each outcome, each failure, and what was read with other data by kind."""
    counts = Counter(outcome.what for outcome in outcomes)
    lines = [", ".join(f"{n} {what}" for what, n in counts.most_common())]
    lines += [str(outcome) for outcome in outcomes if outcome.what in FAILURES]
    lines.append("\nread with other data (file, what differs: how many)")
    kinds = Counter((o.file, o.detail) for o in outcomes if o.what == "other")
    lines += [f"  {file}, {detail}: {n}" for (file, detail), n in sorted(kinds.items())]
    return "\n".join(lines)


def main() -> int:
    """Run the command of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    parser.add_argument("--only", help="one format")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return 0
    began = time.monotonic()
    outcomes = fuzz(arguments.count, arguments.seed, arguments.keep, arguments.only)
    print(summary(outcomes))
    print(f"\n{len(outcomes)} files in {time.monotonic() - began:.0f} s")
    return int(any(outcome.what in FAILURES for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
