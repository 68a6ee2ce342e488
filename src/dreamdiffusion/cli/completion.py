"""``dreamdiffusion completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from dreamdiffusion.cli.config import CompletionConfig
from dreamdiffusion.cli.options import SHARED_OPTIONS
from dreamdiffusion.files.schema import Schema


def completion(config: CompletionConfig) -> str:
    """Return the script; ``source <(dreamdiffusion completion bash)`` reads it."""
    import shtab

    from dreamdiffusion.cli.commands import COMMANDS, PROGRAM

    parser = argparse.ArgumentParser(prog=PROGRAM)
    commands = parser.add_subparsers()
    behind: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        if second and first not in behind:  # fit: its decoders, as further commands
            behind[first] = commands.add_parser(first, help=command.summary).add_subparsers()
        place = behind[first] if second else commands
        inner = place.add_parser(second or first, help=command.summary)
        for option, (kind, _, text) in SHARED_OPTIONS.items():
            _add(inner, option, kind, text)
        _add_fields(inner, command.load_schema()(), prefix="")
    return shtab.complete(parser, shell=config.shell)


def _add_fields(parser: argparse.ArgumentParser, values: Schema, prefix: str) -> None:
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, Schema):
            _add_fields(parser, value, prefix=f"{prefix}{name}.")
        else:
            _add(parser, f"{prefix}{name}", field.annotation, field.description or "")


def _add(parser: argparse.ArgumentParser, option: str, kind: Any, text: str) -> None:
    import shtab

    choices = get_args(kind) if get_origin(kind) is Literal else None
    words = text.replace("%", "%%")  # argparse would read it as a place holder
    action: Any = parser.add_argument(f"--{option}", help=words, choices=choices)
    if kind is Path or Path in get_args(kind):
        action.complete = shtab.FILE
