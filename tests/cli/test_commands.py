"""The command line: speed and content of the help, precedence of options, errors, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from dreamdiffusion.cli import commands as cli
from dreamdiffusion.cli import info, options
from dreamdiffusion.decoders.config import (
    CaptionConfig,
    FinetuneConfig,
    LdaConfig,
    PriorConfig,
    ReaderConfig,
)
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.files.progress import hide_library_bars
from dreamdiffusion.files.shipped import CONFIGS, find_config, find_weights
from dreamdiffusion.models.config import PretrainConfig, TrainGeneratorConfig
from dreamdiffusion.studies.config import AblateConfig
from dreamdiffusion.trials.config import PrepareConfig, SplitConfig

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "mne", "diffusers", "transformers", "matplotlib", "sklearn", "pandas", "scipy")
REPORT_IMPORTS = f"""
import sys
from dreamdiffusion.cli.commands import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("HEAVY", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a fresh process, with the source folder on its path."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "100", **environment},
        timeout=120,
    )


@pytest.fixture
def stage(monkeypatch):
    """Replace the stages; the configuration that a stage gets is kept in the list."""
    received = []

    def replace(behaviour=lambda config: config.output):
        def fake(config):
            received.append(config)
            return behaviour(config)

        load = cli._load
        monkeypatch.setattr(
            cli, "_load", lambda target: load(target) if "Config" in target else fake
        )
        return received

    return replace


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, *cli.COMMANDS])
def test_help_imports_nothing_heavy(name):
    result = run("-c", REPORT_IMPORTS, *(name.split() if name else []), "--help")
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "HEAVY []"
    assert result.stdout.startswith("usage: dreamdiffusion")


@pytest.mark.parametrize("arguments", [["--help"], ["pretrain", "--help"]])
def test_help_is_fast(arguments):
    # Processor time, since the wall clock also counts what else the machine does; the best of a
    # few, in units of a bare start of Python where the machine is slow.
    bare = min(_cpu_seconds("-c", "import json, re, inspect, pathlib") for _ in range(3))
    spent = min(_cpu_seconds("-m", "dreamdiffusion", *arguments) for _ in range(3))
    assert spent < max(0.5, 20 * bare)


def _cpu_seconds(*arguments: str) -> float:
    before = os.times()
    assert run(*arguments).returncode == 0
    after = os.times()
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


def test_overview_lists_every_command_with_its_summary(capsys):
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert f"  {name} " in shown
        assert command.summary in shown


def test_the_commands_are_those_of_the_design():
    assert set(cli.COMMANDS) == {
        "simulate",
        "bids",
        "datasets",
        "inspect",
        "prepare",
        "audit",
        "pretrain",
        "train-generator",
        "train-judge",
        "finetune",
        "fit lda",
        "fit encoding",
        "fit reader",
        "fit prior",
        "fit caption",
        "generate",
        "decode",
        "live",
        "evaluate",
        "protocols",
        "ablate",
        "demo",
        "convert",
        "info",
        "completion",
        "run",
        "stimulate",
        "app",
    }


@pytest.mark.parametrize(
    ("typed", "schema", "shown"),
    [
        (["fit"], PriorConfig, "fit prior"),
        (["fit", "prior"], PriorConfig, "fit prior"),
        (["fit", "caption"], CaptionConfig, "fit caption"),
        (["fit", "lda"], LdaConfig, "fit lda"),
        (["fit", "dreamdiffusion"], FinetuneConfig, "finetune"),
        (["finetune"], FinetuneConfig, "finetune"),
    ],
)
def test_fit_takes_the_decoder_as_its_word(stage, capsys, typed, schema, shown):
    received = stage()
    assert cli.main([*typed, "--data", "trials"]) == 0
    assert type(received[0]) is schema and received[0].data == Path("trials")
    with pytest.raises(SystemExit):
        cli.main([*typed, "--help"])
    told = capsys.readouterr().out
    assert f"usage: dreamdiffusion {shown} " in told
    if shown != "finetune":
        assert all(f"fit {name} " in told for name in registry)


def test_every_decoder_has_a_command():
    assert {registry.command(name) for name in registry} <= set(cli.COMMANDS)
    assert {cli.COMMANDS[registry.command(name)].load_schema() for name in registry} == {
        registry.schema(name) for name in registry
    }


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "priro",
            "unknown decoder 'priro'; did you mean prior?; decoders: caption, dreamdiffusion",
        ),
        (".", "prior, reader; trials are given with --data"),
    ],
)
def test_a_word_that_is_no_decoder_is_named(capsys, word, told):
    assert cli.main(["fit", word]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--data", "x"], ["--split.by", "run", "--data", "x"]])
def test_a_decoder_behind_the_options_is_told_its_place(stage, capsys, options):
    received = stage()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit", *options, "lda"])
    assert stopped.value.code == 2 and not received
    right = f"dreamdiffusion fit lda {' '.join(options)}\n"
    assert capsys.readouterr().err.endswith(f"error: the decoder comes before the options: {right}")
    assert cli.main(right.split()[1:]) == 0
    assert cli.main(["fit", "--data", "x", "--output", "lda"]) == 0  # a folder of that name
    assert [type(config) for config in received] == [LdaConfig, PriorConfig]


def test_a_configuration_that_ships_belongs_to_its_decoder(stage, monkeypatch):
    monkeypatch.chdir(ROOT)
    received = stage()
    assert cli.main(["fit", "--config", "n170"]) == 0
    assert cli.main(["fit", "reader", "--config", "n170"]) == 0
    assert [type(config) for config in received] == [PriorConfig, ReaderConfig]
    assert cli.main(["fit", "dreamdiffusion", "--config", "scenes"]) == 0
    assert cli.main(["fit", "lda", "--config", "n170"]) == 2


def test_the_overview_lists_the_commands_by_group():
    shown = run("-m", "dreamdiffusion", "--help").stdout
    places = [
        shown.index(f"\n{group}:\n") for group in ("data", "train", "decode", "score", "about")
    ]
    assert places == sorted(places)


def test_a_shipped_configuration_is_found_by_its_name_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, _ = options.parse(PretrainConfig, ["--config", "muse"], prog="dreamdiffusion pretrain")
    assert config == options.load_config(PretrainConfig, CONFIGS / "pretrain-muse.yaml")
    (tmp_path / "muse").write_text("steps: 7\n")  # a file of that name is meant where there is one
    config, _ = options.parse(PretrainConfig, ["--config", "muse"], prog="dreamdiffusion pretrain")
    assert config.steps == 7
    with pytest.raises(FileNotFoundError, match="all, dreamdiffusion, muse, scenes"):
        options.parse(PretrainConfig, ["--config", "n170"], prog="dreamdiffusion pretrain")
    with pytest.raises(FileNotFoundError):  # no way out of the folder of configurations
        find_config("../pretrain-muse", "pretrain")


def test_bundled_weights_are_found_in_any_folder_but_never_guessed(tmp_path, monkeypatch):
    judge = EvaluateConfig().judge
    assert judge == Path("weights/judge")
    monkeypatch.chdir(tmp_path)
    found = EvaluateConfig().judge
    assert found.is_absolute()
    assert (found / "config.json").is_file()
    assert FinetuneConfig().generator.endswith("weights/scenes-generator")
    assert find_weights(Path("weights/none")) == Path("weights/none")
    assert find_weights("CompVis/stable-diffusion-v1-4") == "CompVis/stable-diffusion-v1-4"
    (tmp_path / "weights" / "judge").mkdir(parents=True)
    assert EvaluateConfig().judge == Path("weights/judge")  # the working directory comes first


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(shell):
    shown = run("-m", "dreamdiffusion", "completion", shell).stdout
    assert "train-generator" in shown
    assert "fit" in shown and "encoding" in shown
    assert "--optim.lr" in shown
    assert "{}" not in shown


def test_help_of_a_command_shows_the_descriptions_of_its_schema():
    shown = " ".join(run("-m", "dreamdiffusion", "finetune", "--help").stdout.split())
    for name, field in FinetuneConfig.model_fields.items():
        if field.annotation in (bool, float, int, str, Path):
            assert f"--{name}" in shown
    assert "folder written by prepare, kind trials" in shown
    assert "AdamW; the rate warms up linearly" in shown
    assert "--optim.lr FLOAT" in shown
    assert "YAML file or shipped name; flags override it" in shown


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_exists_and_is_documented(name):
    function = cli._load(cli.COMMANDS[name].target)
    assert callable(function)
    assert function.__doc__, f"{cli.COMMANDS[name].target} has no docstring"
    assert cli.COMMANDS[name].load_schema().__doc__
    assert cli.COMMANDS[name].load_schema()() is not None  # every option has a default


def test_reference_is_current():
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == cli.reference(), "docs/cli.md is not current; run make docs"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_options_of_the_reference_are_taken(name):
    """Those with a number: also of a part that may be left out, as a training of a generator."""
    text = cli.reference().split(f"\n## dreamdiffusion {name}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--[\w.]+)` \| (?:int|float) \| `([^`]+)` \|", text, re.MULTILINE)
    schema = cli.COMMANDS[name].load_schema()
    assert parse(schema, *[word for row in rows for word in row]) == schema()


def test_a_part_that_may_be_left_out_has_flags_where_it_is_not(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("init: a\nclip_train: null\nunet_train: {steps: 7, batch_size: 3}\n", "utf-8")
    asked = ("--config", str(path), "--unet_train.optim.lr", "0.5")
    training = parse(TrainGeneratorConfig, *asked).unet_train
    assert (training.steps, training.batch_size, training.optim.lr) == (7, 3, 0.5)
    with pytest.raises(SystemExit):
        parse(TrainGeneratorConfig, *asked, "--clip_train.steps", "5")


def test_fields_that_are_too_deep_for_flags_come_from_the_file(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(
        "fit: {steps: 3}\nrows: [{name: a, changes: {pretrain: false}}]\n", encoding="utf-8"
    )
    arguments = ["--config", str(path), "--seeds", "4", "5", "--part", "1/2"]
    config, _ = options.parse(AblateConfig, arguments, "x")
    assert config == AblateConfig(
        fit={"steps": 3},
        rows=[{"name": "a", "changes": {"pretrain": False}}],
        seeds=[4, 5],
        part="1/2",
    )
    assert config.model_fields_set == {"fit", "rows", "seeds", "part"}
    shown = run("-m", "dreamdiffusion", "ablate", "--help").stdout
    assert "--part" in shown and "--rows" not in shown and "--fit" not in shown
    assert "| `rows` | in YAML only |" in cli.reference()


def test_version(capsys):
    from dreamdiffusion import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dreamdiffusion {__version__}\n"


# --- options ----------------------------------------------------------------------------------


def parse(schema, *arguments):
    return options.parse(schema, arguments, prog="dreamdiffusion")[0]


def test_defaults_then_yaml_then_flags(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("steps: 11\noptim: {lr: 1.0e-3, clip_grad: 0.3}\n", encoding="utf-8")
    config = parse(PretrainConfig, "--optim.lr", "1e-4", "--config", str(path))
    assert config == PretrainConfig(steps=11, optim={"lr": 1e-4, "clip_grad": 0.3})
    assert parse(PretrainConfig) == PretrainConfig()
    assert parse(PretrainConfig, f"--config={path}").steps == 11


@pytest.mark.parametrize("flag", ["--mask-ratio", "--mask_ratio"])
def test_hyphens_and_underscores_mean_the_same(flag):
    assert parse(PretrainConfig, flag, "0.5").mask_ratio == 0.5


def test_lists_mappings_and_unions():
    config = parse(
        PrepareConfig,
        *("--input", "a.edf", "b"),
        *("--events", "face", "1", "house", "2"),
        *("--signal.reference", "average", "--signal.picks", "TP9", "TP10"),
        *("--signal.notch", "50", "100", "--signal.l_freq", "None", "--baseline", "-0.1", "0"),
    )
    assert config.input == [Path("a.edf"), Path("b")]
    assert config.events == {"face": 1, "house": 2}
    assert config.signal.reference == "average"
    assert config.signal.picks == ["TP9", "TP10"]
    assert config.signal.notch == [50.0, 100.0]
    assert config.signal.l_freq is None
    assert config.baseline == (-0.1, 0.0)
    by_runs = parse(FinetuneConfig, "--split.test", "7", "8", "--split.validation", "6")
    assert by_runs.split == SplitConfig(test=["7", "8"], validation=["6"])


def test_flags_override_lists_and_mappings_of_the_yaml(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("events: {a: 1, b: 2}\ninput: [x.edf]\n", encoding="utf-8")
    config = parse(PrepareConfig, "--config", str(path), "--input", "y.edf", "--tmax", "1")
    assert config.input == [Path("y.edf")]
    assert config.events == {"a": 1, "b": 2}
    assert config.tmax == 1.0


def test_what_was_given_is_known_also_where_it_is_the_default(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("tmax: 0.5\nsignal: {sfreq: 256}\n", encoding="utf-8")
    arguments = ("--config", str(path), "--tmin=0", "--signal.l-freq", "0.5", "--no-strict")
    config = parse(PrepareConfig, *arguments)
    assert config == PrepareConfig()
    assert config.model_fields_set == {"tmax", "tmin", "signal", "strict"}
    assert config.signal.model_fields_set == {"sfreq", "l_freq"}
    assert parse(PrepareConfig).model_fields_set == set()
    inner = parse(FinetuneConfig, "--optim.lr", "1e-4").optim
    assert inner == FinetuneConfig().optim.model_copy(update={"lr": 1e-4})


def test_a_command_looks_where_the_one_before_it_writes():
    """By their defaults, so that nobody has to type a path between them."""
    trials = parse(PrepareConfig).output
    windows = parse(PrepareConfig, "--kind", "windows").output
    readers = {
        name: schema.model_fields["data"].default
        for name, command in cli.COMMANDS.items()
        if "data" in (schema := command.load_schema()).model_fields
    }
    assert readers.pop("pretrain") == windows == Path("runs/windows")
    of_pictures = {readers.pop(name) for name in ("train-generator", "train-judge")}
    assert of_pictures == {None}
    assert set(readers.values()) == {trials} == {Path("runs/trials")}
    assert {"fit lda", "fit prior", "audit", "evaluate", "generate", "decode"} <= set(readers)
    assert parse(PrepareConfig, "--kind", "windows", "--output", "w").output == Path("w")


# --- results, errors and exit codes -----------------------------------------------------------


def test_the_output_folder_is_the_only_thing_on_stdout(stage, capsys):
    def noisy(config):
        print("a library that prints")
        return config.output

    received = stage(noisy)
    assert cli.main(["pretrain", "--output", "runs/x", "--steps", "5"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "runs/x\n"
    assert "a library that prints" in captured.err
    assert received == [PretrainConfig(output=Path("runs/x"), steps=5)]


def test_json_result(stage, capsys):
    stage()
    assert cli.main(["pretrain", "--output", "runs/x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": "runs/x"}


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("recording has 250 Hz,\n expected 512"), "recording has 250 Hz, expected 512"),
        (FileNotFoundError("folder runs/x does not exist"), "folder runs/x does not exist"),
        (FileNotFoundError(2, "No such file or directory", "a.edf"), "a.edf: No such file or "
         "directory"),
        (FloatingPointError("the loss is nan at step 3"), "the loss is nan at step 3"),
    ],
)  # fmt: skip
def test_an_error_of_a_stage_is_one_line_and_exit_code_2(stage, capsys, error, line):
    def fail(config):
        raise error

    stage(fail)
    assert cli.main(["finetune"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"error: {line}\n"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_traceback_on_demand(stage, capsys, monkeypatch, how):
    def fail(config):
        raise ValueError("broken")

    stage(fail)
    if how == "variable":
        monkeypatch.setenv("DREAMDIFFUSION_TRACEBACK", "1")
    assert cli.main(["finetune", *(["--traceback"] if how == "flag" else [])]) == 2
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("error: broken\n")


def test_a_bug_is_not_hidden(stage):
    def fail(config):
        raise ZeroDivisionError

    stage(fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["finetune"])


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize(("name", "resumes"), [("pretrain", True), ("evaluate", False)])
def test_interrupt(stage, capsys, name, resumes, terminated):
    before = signal.getsignal(signal.SIGTERM)

    def interrupt(config):
        if terminated:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        raise KeyboardInterrupt if not terminated else AssertionError("SIGTERM was ignored")

    stage(interrupt)
    assert cli.main([name]) == 130
    shown = capsys.readouterr().err
    assert shown.startswith("interrupted")
    assert ("the same command goes on from the last checkpoint" in shown) is resumes
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_that_python_drops_comes_again(stage, capsys, number):
    """Python only prints what a callback of a weak reference raises."""
    hook = sys.unraisablehook

    def interrupt(config):
        thing = {1, 2}
        reference = weakref.ref(thing, lambda gone: os.kill(os.getpid(), number))
        del thing
        assert reference() is None
        time.sleep(5)
        raise AssertionError("the signal was dropped")

    stage(interrupt)
    # A shell starts what runs in its background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["pretrain"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.startswith("interrupted")
    assert sys.unraisablehook is hook


def test_other_errors_that_python_drops_are_still_shown(stage, capsys, monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: dropped.append(found.exc_value))

    def drop(config):
        thing = {1, 2}
        reference = weakref.ref(thing, lambda gone: 1 / 0)
        del thing
        return reference()

    stage(drop)
    assert cli.main(["pretrain"]) == 0
    assert [type(error) for error in dropped] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrian"], "unknown command 'pretrian'; did you mean pretrain?"),
        (["pretrain", "--mask_ratio", "2"], "error: mask_ratio is 2.0: input should be less than"),
        (["pretrain", "--optim.lr", "-1"], "error: optim.lr is -1.0: input should be greater"),
        (
            ["pretrain", "--encoder.embed_dim", "10"],
            "error: encoder: embed_dim is 10, which 6 heads do not divide",
        ),
        (
            ["pretrain", "--config", "none.yaml"],
            "error: config none.yaml is neither a file nor one that is shipped for pretrain",
        ),
        (["pretrain", "--config"], "error: --config has no value"),
        (["pretrain", "--config", "a", "--config", "b"], "error: --config is given 2 times"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(capsys, arguments, message):
    assert cli.main(arguments) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_unknown_flag_is_named_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["pretrain", "--optim.lrr", "1"])
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "--optim.lrr" in shown
    assert "--optim.lr FLOAT" in shown


def test_python_dash_m_returns_the_exit_code():
    result = run("-m", "dreamdiffusion", "nonsense")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: unknown command 'nonsense'")


# --- info -------------------------------------------------------------------------------------


def test_info_describes_the_installation(capsys):
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"].startswith("2.")
    assert found["cpu_cores"] == os.cpu_count()


def test_info_describes_a_run_folder(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("steps: 5\n", encoding="utf-8")
    for step in (10, 9):
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    score = {"metric": "ssim", "value": 0.5, "n": 3}
    (tmp_path / "scores.json").write_text(json.dumps({"split": "test", "scores": [score]}))
    assert cli.main(["info", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "steps  5" in shown
    assert "checkpoint_steps  9, 10" in shown
    assert "ssim  value 0.5, n 3" in shown


def test_info_counts_the_parameters_of_a_model(tmp_path):
    from numpy import zeros
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text('{"_class_name": "Judge"}', encoding="utf-8")
    save_file({"a": zeros((3, 4)), "b": zeros(5)}, tmp_path / "model.safetensors")
    found = info.info(info.InfoConfig(path=tmp_path))
    assert found["holds"] == "a model (Judge)"
    assert found["parameters"] == 17


def test_info_describes_prepared_trials(tmp_path):
    content = {"kind": "trials", "n_trials": 4, "simulated": True, "signal": {"sfreq": 256.0}}
    (tmp_path / "info.json").write_text(json.dumps(content), encoding="utf-8")
    found = info.info(info.InfoConfig(path=tmp_path))
    assert found["holds"] == "prepared trials (SIMULATED)"
    assert found["n_trials"] == 4


def test_a_recording_is_shown_by_inspect_alone(tmp_path, capsys):
    path = tmp_path / "a.edf"
    path.write_bytes(b"any")
    assert cli.main(["info", str(path)]) == 2
    message = f"{path} is a file, expected a folder; `dreamdiffusion inspect {path}` shows what"
    assert message in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("steps: 5\n", encoding="utf-8")
    assert cli.main(["inspect", str(tmp_path / "run")]) == 2
    assert "holds no recording" in capsys.readouterr().err


def test_inspect_describes_a_real_recording(shared_data, tmp_path, capsys):
    path, picture = shared_data / "eegmmidb" / "S001R03.edf", tmp_path / "p.png"
    assert cli.main(["inspect", str(path), "--picture", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["sfreq"], found["n_chans"], found["duration_s"]) == (160.0, 64, 125.0)
    assert found["events"] == {"T0": 15, "T1": 8, "T2": 7}


def test_info_names_what_is_not_there(tmp_path, capsys):
    assert cli.main(["info", str(tmp_path / "none")]) == 2
    assert "none does not exist" in capsys.readouterr().err
    assert cli.main(["info", str(tmp_path)]) == 2
    assert "holds nothing that dreamdiffusion knows" in capsys.readouterr().err


def test_text_is_aligned_and_nested():
    text = info.format_text({"a": 1, "long": {"x": [1, 2], "yy": None}, "empty": []})
    assert text == "a      1\nlong\n  x   1, 2\n  yy  -\nempty  -"


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_that_writes_a_folder_holds_it(name: str) -> None:
    """`writes_output` marks a stage; `inspect` writes one picture, `datasets` holds by itself."""
    command = cli.COMMANDS[name]
    if "output" not in command.load_schema().model_fields or name in ("inspect", "datasets"):
        return
    assert hasattr(cli._load(command.target), "stays"), f"{command.target} lacks @writes_output"


def test_bars_of_libraries_are_hidden_and_those_of_downloads_stay():
    import huggingface_hub.utils as hub
    import transformers.utils.logging as library

    try:
        hide_library_bars()
        assert not library.is_progress_bar_enabled()
        assert not hub.are_progress_bars_disabled()
    finally:
        library.enable_progress_bar()
