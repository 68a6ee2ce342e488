"""Options of a command: from a schema to flags, from YAML and flags to a validated configuration.

Precedence: the schema's defaults < the file given with ``--config`` < flags. tyro reads the flags
into plain mappings; pydantic then validates the whole once, so YAML and flags have one wording of
errors. tyro and pydantic are imported where they are needed: ``dreamdiffusion --help`` needs none.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

    from dreamdiffusion.files.schema import Schema

TRACEBACK_VARIABLE = "DREAMDIFFUSION_TRACEBACK"

# Options that every command has beside the fields of its schema: name -> (type, default, help).
SHARED_OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "config": (
        Path | None,
        None,
        "YAML file or shipped name; flags override it",
    ),
    "json": (bool, False, "print the result as JSON"),
    "traceback": (bool, False, f"show where an error arose (or set {TRACEBACK_VARIABLE}=1)"),
}


def parse(
    schema: type[Schema], arguments: Sequence[str], prog: str, note: str = ""
) -> tuple[Schema, dict[str, Any]]:
    """Turn the arguments of a command into its configuration: defaults < YAML file < flags.

    Parameters
    ----------
    schema
        The schema of the command.
    arguments
        What follows the command's name.
    prog
        Program and command as they are typed, for the help text.
    note
        A further paragraph of the help text.

    Returns
    -------
    Schema
        The validated configuration of the stage; its `model_fields_set` is what the file and the
        flags say.
    dict
        The options every command has (:data:`SHARED_OPTIONS`).

    Raises
    ------
    FileNotFoundError
        If the YAML file does not exist.
    ValueError
        If the file has an unknown key, or a value is not valid.
    SystemExit
        With code 2 for arguments that cannot be parsed, with 0 after ``--help``.
    """
    import tyro

    command = prog.partition(" ")[2]
    file = _config_file(arguments, command)
    default = schema() if file is None else load_config(schema, file)
    values = tyro.cli(
        schema,
        prog=prog,
        args=list(arguments),
        use_underscores=True,
        registry=_registry(schema, default, command, note),
    )
    assert isinstance(values, dict)  # the registry builds mappings, which are validated here
    shared = {option: values.pop(option) for option in SHARED_OPTIONS}
    given = _given(values, default, _named(arguments))
    return _validate(schema, given, origin=None), shared


def load_config(schema: type[Schema], path: Path) -> Schema:
    """Read a YAML file into ``schema``; what the file does not name keeps its default.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no YAML mapping, has a key that the schema has not (the message lists the
        valid ones), or a value that is not valid.
    """
    from dreamdiffusion.files.schema import read_yaml

    content = read_yaml(path)
    _check_keys(schema, content, path, prefix="")
    return _validate(schema, content, origin=path)


def name_option(message: str, config: Schema | None) -> str:
    """Add the options that gave the paths which an error speaks of, where it names no option.

    Parameters
    ----------
    message
        One line.
    config
        Of the command that failed; None where it is not known.
    """
    found = [
        (option, path)
        for option, path in ([] if config is None else _paths(config))
        if re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w-])", message)
    ]
    # A folder is not meant where one below it was given, too.
    inner = [
        f"--{option}"
        for option, path in found
        if not any(other.startswith(f"{path}/") for _, other in found)
    ]
    if not inner or re.search(r"(?:^|[\s(])--[a-z]", message):
        return message
    return f"{message} ({', '.join(inner)})"


def _paths(config: Schema, prefix: str = "") -> list[tuple[str, str]]:
    """Return option and path of every field that holds one, or several in a list."""
    from tyro.conf import Positional

    from dreamdiffusion.files.schema import Schema

    marker = get_args(Positional[int])[1:]
    found: list[tuple[str, str]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Schema):
            found += _paths(value, f"{prefix}{name}.")
        elif any(mark in field.metadata for mark in marker):
            continue  # typed without a name
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Path) or (isinstance(one, str) and "/" in one):
                found.append((f"{prefix}{name}", str(one)))
    return found


def options_reference(commands: Mapping[str, tuple[str, type[Schema]]], program: str) -> str:
    """Return the reference of all commands as Markdown; ``docs/cli.md`` holds its output.

    Parameters
    ----------
    commands
        Command -> (one line about it, its schema).
    program
        What is typed before a command.
    """
    lines = [
        "# Command reference",
        "",
        "Generated by `make docs` from the schemas (`config.py` of each package); a test",
        "compares this file with them. The options of a command are the keys of its YAML file",
        "(`--optim.lr` is `lr` under `optim`) and the fields of its schema in Python. Hyphens may",
        "stand for underscores. Precedence: defaults < `--config file.yaml` < flags.",
        "",
        "Every command also has:",
        "",
        "| option | meaning |",
        "| --- | --- |",
        *(f"| `--{option}` | {text} |" for option, (_, _, text) in SHARED_OPTIONS.items()),
    ]
    for name, (summary, schema) in commands.items():
        lines += [
            "",
            f"## {program} {name}",
            "",
            f"{summary[0].upper()}{summary[1:]}.",
            "",
            f"Schema `{schema.__name__}`: {_first_line(schema)}",
            "",
            "| option | type | default | meaning |",
            "| --- | --- | --- | --- |",
            *_option_rows(schema(), prefix=""),
        ]
    return "\n".join(lines) + "\n"


def _first_line(schema: type[Schema]) -> str:
    return (schema.__doc__ or "").strip().splitlines()[0]


def _config_file(arguments: Sequence[str], command: str) -> Path | None:
    """Return the file that ``--config`` names, which has to be known before flags are parsed."""
    from dreamdiffusion.files.shipped import find_config

    found = [
        argument.partition("=")[2] if "=" in argument else "".join(arguments[place + 1 : place + 2])
        for place, argument in enumerate(arguments)
        if argument == "--config" or argument.startswith("--config=")
    ]
    if len(found) > 1:
        raise ValueError(f"--config is given {len(found)} times, expected once")
    if found and not found[0]:
        raise ValueError("--config has no value, expected a YAML file or a shipped name")
    return find_config(found[0], command) if found else None


def _named(arguments: Sequence[str]) -> set[str]:
    """Return the options that flags name, as `signal.l_freq`; `--no-strict` names `strict`."""
    named: set[str] = set()
    for argument in arguments:
        if argument.startswith("--"):
            path = argument[2:].partition("=")[0].replace("-", "_")
            place, dot, name = path.rpartition(".")
            named |= {path, f"{place}{dot}{name.removeprefix('no_')}"}
    return named


def _given(
    values: Mapping[str, Any], default: Schema, named: set[str], prefix: str = ""
) -> dict[str, Any]:
    """Leave out what neither the file nor a flag says, so that `model_fields_set` tells it."""
    from dreamdiffusion.files.schema import Schema

    given: dict[str, Any] = {}
    for name, value in values.items():
        current = getattr(default, name)
        if isinstance(current, Schema) and isinstance(value, dict):
            if inner := _given(value, current, named, f"{prefix}{name}."):
                given[name] = inner
        elif f"{prefix}{name}" in named or name in default.model_fields_set or value != current:
            given[name] = value
    return given


def _registry(top: type[Schema], default: Schema, command: str, note: str) -> ConstructorRegistry:
    """Tell tyro to read schemas into plain mappings.

    Validation then happens once, on the whole, with one wording for YAML and flags; the top level
    has the shared options beside its fields.
    """
    from tyro.constructors import (
        ConstructorRegistry,
        StructConstructorSpec,
        StructFieldSpec,
        StructTypeInfo,
    )

    from dreamdiffusion.files.schema import Schema
    from dreamdiffusion.files.shipped import config_names

    shipped = ", ".join(config_names(command))
    registry = ConstructorRegistry()

    @registry.struct_rule
    def _(info: StructTypeInfo) -> StructConstructorSpec | None:
        if not (isinstance(info.type, type) and issubclass(info.type, Schema)):
            return None
        hints = get_type_hints(info.type, include_extras=True)
        given = default if info.type is top else info.default
        values = given if isinstance(given, Schema) else info.type()
        hints = {name: _flag_type(hint, getattr(values, name)) for name, hint in hints.items()}
        fields = [
            StructFieldSpec(
                name,
                hints[name],
                default=getattr(values, name),
                # Without a description: none, rather than tyro's reading of the source code.
                helptext=field.description or (lambda: None),
            )
            for name, field in info.type.model_fields.items()
            if not _needs_yaml(hints[name])
        ]
        without_flag = {
            name: getattr(values, name) for name, hint in hints.items() if _needs_yaml(hint)
        }
        if info.type is top:
            fields += [
                StructFieldSpec(
                    option,
                    kind,
                    initial,
                    f"{text}; shipped: {shipped}" if option == "config" and shipped else text,
                )
                for option, (kind, initial, text) in SHARED_OPTIONS.items()
            ]

        def as_mapping(**options: Any) -> dict[str, Any]:
            return without_flag | options

        about = info.type.__doc__ or ""
        as_mapping.__doc__ = f"{about}\n\n{note}" if note and info.type is top else about
        return StructConstructorSpec(instantiate=as_mapping, fields=tuple(fields))

    return registry


def _validate(schema: type[Schema], values: dict[str, Any], origin: Path | None) -> Schema:
    from pydantic import ValidationError

    try:
        return schema.model_validate(values)
    except ValidationError as error:
        where = f"{origin}: " if origin else ""
        raise ValueError(where + "; ".join(map(_describe, error.errors()))) from error


def _describe(problem: Any) -> str:
    """Word one problem of pydantic as ``optim.lr is -1.0: input should be greater than 0``."""
    text = problem["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "value_error":
        return f"{place}: {text}" if place else text
    return f"{place} is {problem['input']!r}: {text[0].lower()}{text[1:]}"


def _check_keys(schema: type[Schema], content: dict, path: Path, prefix: str) -> None:
    """Raise on the first key that ``schema`` has not, naming it and the valid ones."""
    from dreamdiffusion.files.schema import Schema

    for key, value in content.items():
        if key not in schema.model_fields:
            near = difflib.get_close_matches(str(key), schema.model_fields, n=1)
            raise ValueError(
                f"{path} has the unknown key {prefix}{key}"
                + (f" (did you mean {prefix}{near[0]}?)" if near else "")
                + f"; valid keys{f' under {prefix[:-1]}' if prefix else ''}: "
                + ", ".join(schema.model_fields)
            )
        inner = schema.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, Schema) and isinstance(value, dict):
            _check_keys(inner, value, path, prefix=f"{prefix}{key}.")


def _option_rows(values: Schema, prefix: str) -> list[str]:
    """Return one table row per option, nested schemas after the plain fields."""
    from dreamdiffusion.files.schema import Schema

    plain, nested = [], []
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, Schema):
            nested += _option_rows(value, prefix=f"{prefix}{name}.")
            continue
        in_file = _needs_yaml(field.annotation)
        shown = "" if value is None or value == [] or in_file else str(value)
        cells = (
            f"`{prefix}{name}`" if in_file else f"`--{prefix}{name}`",
            "in YAML only" if in_file else _type_name(field.annotation),
            f"`{shown}`" if shown else "",
            field.description or "",
        )
        plain.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return plain + nested


def _flag_type(annotation: Any, value: Any) -> Any:
    """Return the type of a field's flags: of a part that may be left out and is not, its schema."""
    from dreamdiffusion.files.schema import Schema

    is_part = isinstance(value, Schema) and get_origin(annotation) in (Union, types.UnionType)
    return type(value) if is_part else annotation


def _needs_yaml(annotation: Any) -> bool:
    """Whether a field is too deep for flags: it holds lists of schemas, or values of any type."""
    from dreamdiffusion.files.schema import Schema

    return any(
        part is Any or (isinstance(part, type) and issubclass(part, Schema)) or _needs_yaml(part)
        for part in get_args(annotation)
    )


def _type_name(annotation: Any) -> str:
    """Word a type for the reference: ``int``, ``one of trials, windows``, ``path or none``."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "none"
    if origin is Annotated:
        return _type_name(inside[0])
    if origin is Literal:
        return ", ".join(map(str, inside))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_type_name, inside))
    if origin is tuple:
        return " ".join(map(_type_name, inside))
    if origin is list:
        return f"list of {_type_name(inside[0])}"
    if origin is dict:
        return f"pairs of {_type_name(inside[0])} {_type_name(inside[1])}"
    return annotation.__name__.lower()
