"""Schemas and the YAML files that ship: unknown keys, round trips, checks across fields."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from dreamdiffusion.cli.commands import COMMANDS
from dreamdiffusion.cli.config import LiveConfig
from dreamdiffusion.cli.options import load_config
from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.files.schema import Schema, read_yaml, write_yaml
from dreamdiffusion.files.shipped import CONFIGS
from dreamdiffusion.models.config import (
    EncoderConfig,
    PretrainConfig,
    TrainGeneratorConfig,
    TrainJudgeConfig,
)
from dreamdiffusion.training.config import OptimConfig, TrainConfig

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
SOURCE = Path(__file__).parents[2] / "src" / "dreamdiffusion"
MODULES = [
    importlib.import_module(f"dreamdiffusion.{path.parent.name}.config")
    for path in sorted(SOURCE.glob("*/config.py"))
]
STAGES = sorted(
    (
        schema
        for module in MODULES
        for name, schema in inspect.getmembers(module, inspect.isclass)
        if issubclass(schema, Schema)
        and schema is not Schema
        and schema.__module__ == module.__name__
    ),
    key=lambda schema: schema.__name__,
)


@pytest.mark.parametrize("schema", STAGES, ids=lambda schema: schema.__name__)
def test_every_schema_has_defaults_and_round_trips_through_yaml(schema, tmp_path):
    default = schema()
    write_yaml(default, tmp_path / "config.yaml")
    assert load_config(schema, tmp_path / "config.yaml") == default


@pytest.mark.parametrize("schema", STAGES, ids=lambda schema: schema.__name__)
def test_every_schema_refuses_an_unknown_key(schema):
    with pytest.raises(ValidationError, match="voxels"):
        schema(voxels=1)


def test_round_trip_keeps_values_that_are_not_the_default(tmp_path):
    config = FinetuneConfig(
        steps=7,
        pretrained=Path("runs/pretrain"),
        split={"by": "run", "test": ["7", "8"], "validation": ["6"]},
        optim={"lr": 5.3e-5, "betas": (0.8, 0.9)},
    )
    write_yaml(config, tmp_path / "config.yaml")
    again = load_config(FinetuneConfig, tmp_path / "config.yaml")
    assert again == config
    assert again.optim.betas == (0.8, 0.9)
    assert again.split.validation == ["6"]


def test_unknown_key_in_yaml_is_named_with_its_place_and_the_valid_keys(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("steps: 10\noptim: {lrr: 1.0e-4}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"optim\.lrr") as caught:
        load_config(PretrainConfig, path)
    message = str(caught.value)
    assert str(path) in message
    assert "did you mean optim.lr?" in message
    assert message.endswith(
        "valid keys under optim: kind, lr, betas, weight_decay, warmup_steps, schedule, clip_grad, "
        "ema_decay"
    )


def test_wrong_value_in_yaml_is_named_with_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("vae_train: {optim: {lr: -1}}\n", encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        load_config(TrainGeneratorConfig, path)
    assert str(caught.value) == (
        f"{path}: vae_train.optim.lr is -1: input should be greater than 0"
    )


def test_yaml_that_is_missing_broken_or_no_mapping(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"list\.yaml holds a list, expected a mapping"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.yaml is not valid YAML"):
        read_yaml(tmp_path / "broken.yaml")
    (tmp_path / "empty.yaml").write_text("", encoding="utf-8")
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_yaml_never_builds_python_objects(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("steps: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not valid YAML"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed_dim": 100, "num_heads": 6}, "embed_dim is 100, which 6 heads do not divide"),
        (
            {"decoder_embed_dim": 126, "decoder_num_heads": 4},
            "decoder_embed_dim is 126, which 4 heads do not divide",
        ),
    ],
)
def test_heads_have_to_divide_the_width(fields, message):
    with pytest.raises(ValidationError, match=message):
        EncoderConfig(**fields)


def test_assignment_is_validated():
    config = PretrainConfig()
    with pytest.raises(ValidationError, match="mask_ratio"):
        config.mask_ratio = 1.0


def test_paper_values_are_the_defaults():
    config = PretrainConfig()
    assert config.mask_ratio == 0.75  # the released configuration says 0.1: not the paper
    assert config.encoder.patch_size == 4
    assert (config.optim.lr, config.optim.betas, config.optim.weight_decay) == (
        2.5e-4,
        (0.9, 0.95),
        0.05,
    )
    assert FinetuneConfig().clip_weight == 1.0
    assert FinetuneConfig().n_condition_tokens == 77


def test_there_are_configs():
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_for_the_schema_that_its_first_line_names(path):
    text = path.read_text(encoding="utf-8")
    first = text.partition("\n")[0]
    found = re.fullmatch(r"# schema: (\w+)", first)
    assert found, f"{path.name} starts with {first!r}, expected '# schema: <Schema>'"
    (schema,) = (stage for stage in STAGES if stage.__name__ == found[1])
    config = load_config(schema, path)
    # Numbers that YAML reads as text (1e-4 without a point) would be converted in silence.
    _assert_same(yaml.safe_load(text), config.model_dump(mode="json"), path.name)


def _assert_same(given, read, place: str) -> None:
    if isinstance(given, dict):
        for key, value in given.items():
            _assert_same(value, read[key], f"{place}: {key}")
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            _assert_same(one, other, f"{place}: {number}")
    elif isinstance(given, str):
        assert isinstance(read, str), f"{place} is the text {given!r}; write 1.0e-4, not 1e-4"
    else:
        assert given == read, place


def _nested(config: Schema, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all settings of nested groups."""
    found = []
    for name, value in config:
        if isinstance(value, Schema):
            found += _nested(value, (*path, name))
        elif path:
            found.append((*path, name))
    return found


SCHEMAS = {name: command.load_schema() for name, command in COMMANDS.items()}


@pytest.mark.parametrize("command", [name for name in SCHEMAS if _nested(SCHEMAS[name]())])
def test_what_a_file_does_not_state_of_a_group_stays_the_command_s_own(command, tmp_path):
    schema, file = SCHEMAS[command], tmp_path / "own.yaml"
    default = schema()
    written = default.model_dump(mode="json")
    for path in _nested(default):
        group = written
        for name in path[:-1]:
            group = group[name]
        stated = {path[-1]: group.get(path[-1])}  # an empty one may not be written
        for name in reversed(path[:-1]):
            stated = {name: stated}
        file.write_text(yaml.safe_dump(stated), encoding="utf-8")
        assert load_config(schema, file) == default, path


def test_what_is_stated_of_a_group_is_taken(tmp_path):
    def read(schema, text):
        (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
        return load_config(schema, tmp_path / "own.yaml")

    judge = read(TrainJudgeConfig, "optim: {lr: 5.0e-4}").optim
    assert (judge.lr, judge.betas, judge.warmup_steps) == (5e-4, (0.9, 0.99), 50)
    assert TrainJudgeConfig().optim.lr == 2e-3  # reading another file changes no default
    stage = read(TrainGeneratorConfig, "unet_train: {optim: {lr: 5.0e-4}}").unet_train
    assert (stage.optim.lr, stage.steps, stage.batch_size) == (5e-4, 10000, 32)
    assert read(LiveConfig, "sample: {strength: 0.2}").sample.model_dump() == {
        "strength": 0.2,
        "num_images_per_prompt": 1,
        "num_inference_steps": 6,
        "seed": 0,
    }


def _leaves(config: Schema, path: tuple[str, ...] = ()):
    """Yield the path, field and value of every field at every depth."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Schema):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), field, value


@pytest.mark.parametrize("schema", STAGES, ids=lambda schema: schema.__name__)
def test_null_and_the_default_of_a_nested_class_come_back_from_yaml(schema, tmp_path):
    own, written = tmp_path / "own.yaml", tmp_path / "written.yaml"
    for path, field, value in _leaves(schema()):
        default = field.get_default(call_default_factory=True)
        stated = [default] if default != value else []  # the stage has another
        stated += [None] if type(None) in get_args(field.annotation) else []
        for wanted in stated:
            content = TypeAdapter(object).dump_python(wanted, mode="json")
            for name in reversed(path):
                content = {name: content}
            own.write_text(yaml.safe_dump(content), encoding="utf-8")
            config = load_config(schema, own)
            assert functools.reduce(getattr, path, config) == wanted, path
            write_yaml(config, written)
            assert load_config(schema, written) == config, path


def test_in_python_a_mapping_is_laid_over_the_default_and_a_schema_is_taken_whole():
    whole = TrainConfig(steps=3)
    assert TrainGeneratorConfig(clip_train=whole).clip_train == whole
    assert TrainGeneratorConfig(clip_train={"steps": 3}).clip_train.batch_size == 128


def test_what_is_stated_below_a_default_s_own_group_is_laid_over_it():
    class Stage(Schema):
        train: TrainConfig = TrainConfig(steps=7, optim=OptimConfig(lr=1e-3, warmup_steps=9))

    stage = Stage.model_validate({"train": {"optim": {"warmup_steps": 2}}}).train
    assert (stage.steps, stage.optim.lr, stage.optim.warmup_steps) == (7, 1e-3, 2)
