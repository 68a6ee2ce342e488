"""The command line: one command per stage, ``dreamdiffusion <command> [options]``.

`fit` has a second word, the decoder, and with it a command for each.

Every option is a field of the stage's schema (``config.py`` of its package), by the same name as
in Python and YAML. This module imports neither torch nor mne, so that ``--help`` answers at once;
a stage is imported when it runs. stdout carries the result, stderr everything else.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import json
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dreamdiffusion import __version__
from dreamdiffusion.cli import options
from dreamdiffusion.decoders.registry import registry

if TYPE_CHECKING:
    from dreamdiffusion.files.schema import Schema

PROGRAM = "dreamdiffusion"

# transformers warns on import that torchvision is absent, which is how this package wants it.
_LIBRARY_LOGS = {
    "MNE_LOGGING_LEVEL": "WARNING",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


@dataclass(frozen=True)
class Command:
    """Where a command's schema and function live; both are imported when they are needed."""

    summary: str
    target: str  # "module:function" below dreamdiffusion
    schema: str  # "module:Schema" below dreamdiffusion
    resumes: bool = False

    def load_schema(self) -> type[Schema]:
        """Import and return the schema of the command."""
        return _load(self.schema)


# Commands by group, in the order in which somebody with a recording meets them.
GROUPS: dict[str, dict[str, Command]] = {
    "data": {
        "stimulate": Command(
            "show pictures in a browser while EEG is recorded: markers, events.tsv, timing check",
            "cli.stimulate.command:stimulate",
            "cli.config:StimulateConfig",
        ),
        "simulate": Command(
            "write a BIDS folder of SIMULATED recordings of people who look at drawn pictures",
            "datasets.simulation.bids:simulate",
            "datasets.config:SimulateConfig",
        ),
        "datasets": Command(
            "public data sets: datasets list, datasets show NAME, datasets fetch NAME",
            "datasets.command:datasets",
            "datasets.config:DatasetsConfig",
        ),
        "inspect": Command(
            "show what was understood of one recording: channels, units, events, a picture",
            "report.inspect:inspect",
            "recordings.config:InspectConfig",
        ),
        "bids": Command(
            "write recordings and what was shown (a table, class folders) as a BIDS data set",
            "datasets.own.bids:bids",
            "datasets.config:BidsConfig",
        ),
        "prepare": Command(
            "cut recordings into labelled trials, or into windows for pre-training",
            "datasets.prepare:prepare",
            "trials.config:PrepareConfig",
        ),
        "audit": Command(
            "look for what gives the class away without the brain: order, time, drift, copies",
            "evidence.audit.run:audit",
            "evidence.config:AuditConfig",
        ),
    },
    "train": {
        "pretrain": Command(
            "train the EEG encoder on unlabelled windows (masked signal modelling)",
            "models.encoders.pretrain:pretrain",
            "models.config:PretrainConfig",
            resumes=True,
        ),
        "train-generator": Command(
            "train a small text-to-image generator from scratch",
            "models.generator.train:train_generator",
            "models.config:TrainGeneratorConfig",
            resumes=True,
        ),
        "train-judge": Command(
            "train the independent classifier that names pictures",
            "models.judge.train:train_judge",
            "models.config:TrainJudgeConfig",
            resumes=True,
        ),
        "fit prior": Command(
            "what fit alone does: a reader, and a bank of pictures from which images are drawn",
            "decoders.fit:fit_decoder",
            "decoders.config:PriorConfig",
            resumes=True,
        ),
        "fit caption": Command(
            "the same reader, whose words are drawn as a caption",
            "decoders.fit:fit_decoder",
            "decoders.config:CaptionConfig",
            resumes=True,
        ),
        "fit reader": Command(
            "a compact network that reads labels and CLIP embeddings off the EEG; no images",
            "decoders.fit:fit_decoder",
            "decoders.config:ReaderConfig",
            resumes=True,
        ),
        "fit encoding": Command(
            "a linear encoding model: what the picture shows, all attributes at once; no images",
            "decoders.fit:fit_decoder",
            "decoders.config:EncodingConfig",
        ),
        "fit lda": Command(
            "the linear baseline: category from window means; no images",
            "decoders.fit:fit_decoder",
            "decoders.config:LdaConfig",
        ),
        "finetune": Command(
            "the paper's word for fit dreamdiffusion: encoder, projectors and cross-attention",
            "decoders.fit:fit_decoder",
            "decoders.config:FinetuneConfig",
            resumes=True,
        ),
        "convert": Command(
            "import a checkpoint of the authors' release, executing nothing in it",
            "decoders.dreamdiffusion.convert:convert",
            "decoders.config:ConvertConfig",
        ),
    },
    "decode": {
        "generate": Command(
            "draw images from a recording or from prepared trials",
            "decoders.generate:generate",
            "decoders.config:GenerateConfig",
        ),
        "decode": Command(
            "answers of any decoder for prepared trials: labels, embeddings, images",
            "decoders.answers:write_answers",
            "decoders.config:DecodeConfig",
        ),
        "live": Command(
            "decode a stream of EEG as it comes: images, signal quality, a recording",
            "cli.live.command:live",
            "cli.config:LiveConfig",
        ),
        "app": Command(
            "a page in a browser of this machine: recording, model, picture; for non-programmers",
            "cli.app.command:app",
            "cli.config:AppConfig",
        ),
    },
    "score": {
        "evaluate": Command(
            "score the images: chance, shuffled-EEG control, interval, p; gallery and report",
            "evaluation.command:evaluate_command",
            "evaluation.config:EvaluateConfig",
        ),
        "protocols": Command(
            "what makes scores comparable: protocols list, protocols show NAME",
            "evidence.protocols.command:protocols",
            "evidence.config:ProtocolsConfig",
        ),
        "ablate": Command(
            "run a grid of trainings and evaluations with seeds: one table, one figure",
            "studies.ablate:ablate",
            "studies.config:AblateConfig",
            resumes=True,
        ),
    },
    "about": {
        "run": Command(
            "from recordings of your own and the pictures shown to a report, in one command",
            "cli.own.command:run",
            "cli.config:RunConfig",
            resumes=True,
        ),
        "demo": Command(
            "decode simulated EEG with the bundled weights: scores, gallery, report",
            "cli.demo:demo",
            "cli.config:DemoConfig",
        ),
        "info": Command(
            "show versions, device and bundled weights, or what a folder holds",
            "cli.info:info",
            "cli.config:InfoConfig",
        ),
        "completion": Command(
            "print a script that completes commands and options: completion bash",
            "cli.completion:completion",
            "cli.config:CompletionConfig",
        ),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
FIT, DEFAULT = "fit", "prior"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv
        Arguments without the program's name; the process's own by default.

    Returns
    -------
    int
        0 done, 1 a check that found something wrong, 2 wrong arguments or input, 130 interrupted
        (Ctrl-C, or a scheduler's SIGTERM).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        with _reader_may_leave():
            print(_overview())
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"{PROGRAM} {__version__}")
        return 0
    try:
        name, rest = _split_name(arguments)
    except ValueError as error:
        return _fail(str(error))
    show_traceback = "--traceback" in rest or bool(os.environ.get(options.TRACEBACK_VARIABLE))
    command, config = COMMANDS[name], None
    try:
        # What is printed here is the help.
        with _saying_where_the_decoder_stands(arguments), _reader_may_leave():
            config, shared = options.parse(
                command.load_schema(), rest, prog=f"{PROGRAM} {name}", note=_note(name)
            )
        if config is None:
            return 0
        with _terminated_as_interrupted():
            result = _run(command, config)
    except KeyboardInterrupt:
        again = "; the same command goes on from the last checkpoint"
        print(f"interrupted{again if command.resumes else ''}", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if show_traceback:
            traceback.print_exc()
        return _fail(options.name_option(_one_line(error), config))
    with _reader_may_leave():
        _print_result(result, shared["json"])
    return 1 if getattr(result, "failed", False) else 0


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    """Print no error where what reads stdout, head perhaps, has seen enough."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _split_name(arguments: list[str]) -> tuple[str, list[str]]:
    """Split arguments into the command, whose name may be two words, and what follows it.

    Raises
    ------
    ValueError
        If there is no such command, or no such decoder behind `fit`.
    """
    name, rest = arguments[0].replace("_", "-"), arguments[1:]
    if name == FIT:
        decoder, rest = (DEFAULT, rest) if _has_no_word(rest) else (rest[0], rest[1:])
        try:
            name = registry.command(decoder)
        except KeyError as error:
            given = "; trials are given with --data" if os.path.isdir(decoder) else ""
            raise ValueError(f"{error.args[0]}{given}") from error
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown command {arguments[0]!r}{hint}; commands: {', '.join(COMMANDS)}")
    return name, rest


def _note(name: str) -> str:
    """Return what the help of a command says of its second word; nothing where it has none."""
    if not name.startswith(f"{FIT} "):
        return ""
    rows = [f"  {FIT} {decoder:<15} {registry.summary(decoder)}" for decoder in registry]
    return "\n".join([f"One of the decoders; {FIT} alone is {FIT} {DEFAULT}:", "", *rows])


@contextlib.contextmanager
def _saying_where_the_decoder_stands(arguments: list[str]) -> Iterator[None]:
    """After the options' own error, say that a decoder named behind them comes first."""
    try:
        yield
    except SystemExit as stop:
        later = [word for word in arguments[1:] if word in registry]
        if stop.code == 2 and arguments[0] == FIT and _has_no_word(arguments[1:]) and later:
            others = [word for word in arguments[1:] if word != later[-1]]
            right = shlex.join([PROGRAM, FIT, later[-1], *others])
            print(f"error: the decoder comes before the options: {right}", file=sys.stderr)
        raise


def _has_no_word(arguments: list[str]) -> bool:
    return not arguments or arguments[0].startswith("-")


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM, with which clusters and torchrun end a process, like Ctrl-C.

    Python drops an exception that arises in a callback of a weak reference or in a finalizer. There
    either signal would be lost: it is sent again a moment later, to arrive elsewhere.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def send_again(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            return hook(dropped)
        main = threading.main_thread().ident
        waiting.append(threading.Timer(0.1, signal.pthread_kill, [main, signal.SIGTERM]))
        waiting[-1].start()

    waiting: list[threading.Timer] = []
    hook = sys.unraisablehook
    before = signal.signal(signal.SIGTERM, interrupt)
    sys.unraisablehook = send_again
    try:
        yield
    finally:
        for timer in waiting:
            timer.cancel()
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def reference() -> str:
    """Return the reference of all commands as Markdown; ``docs/cli.md`` holds its output."""
    commands = {name: (item.summary, item.load_schema()) for name, item in COMMANDS.items()}
    return options.options_reference(commands, PROGRAM)


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = []
    for group, commands in GROUPS.items():
        rows += ["", f"{group}:"]
        rows += [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} [-h] [--version] <command> [options]",
            "",
            "Images of what a person was looking at, from EEG.",
            *rows,
            "",
            f"{PROGRAM} <command> --help lists the options of a command.",
            "Every command reads --config NAME, shipped or a YAML file; flags override it.",
        ]
    )


def _load(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(importlib.import_module(f"dreamdiffusion.{module}"), attribute)


def _run(command: Command, config: Schema) -> Any:
    """Run the stage; what libraries print goes to stderr, so that stdout holds the result only."""
    import logging

    from dreamdiffusion.files.progress import hide_library_bars

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    for noisy in ("httpx", "httpx2", "matplotlib", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for variable, level in _LIBRARY_LOGS.items():
        os.environ.setdefault(variable, level)
    with contextlib.redirect_stdout(sys.stderr):
        stage = _load(command.target)
        hide_library_bars()
        return stage(config)


def _print_result(result: Any, as_json: bool) -> None:
    """Print a stage's folder, a mapping or the rows of a table on stdout."""
    if isinstance(result, dict | list):
        from dreamdiffusion.cli.info import format_table, format_text

        shown = format_text(result) if isinstance(result, dict) else format_table(result)
        print(json.dumps(result, indent=2) if as_json else shown)
    elif as_json:
        print(json.dumps({"output": str(result)}))
    else:
        print(result)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
