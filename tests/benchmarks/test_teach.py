"""The training for a lent GPU rehearsed on a CPU: same code, tiny sizes; its pieces; its limits."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from safetensors.torch import load_file
from tiny import write_generator

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def teach() -> ModuleType:
    path = ROOT / "scripts" / "gpu" / "teach.py"
    before = list(sys.path)
    try:
        spec = importlib.util.spec_from_file_location("teach", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["teach"] = module  # its dataclass looks itself up
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path[:] = before
        del sys.modules["teach"]


@pytest.fixture(scope="module")
def taught(teach, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("teach")
    place = teach.Place(folder / "work", write_generator(folder / "start"), tiny=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(teach.TINY, "workers", 0)
        for part in teach.STAGES:
            teach.train_part(part, place, 900)
    return place.work


def test_parts_are_rehearsed_come_home_in_pieces_and_go_on(teach, taught, tmp_path, capsys):
    """What came back opens; a training that lost its last checkpoint ends with the same bits."""
    teach.pack_result(taught, tmp_path / "back")
    teach.pack(taught, [taught / part for part in teach.STAGES], tmp_path / "back", "state", 2**18)
    assert len(list((tmp_path / "back").glob("state.tar.*"))) > 2
    teach.install(tmp_path / "back", tmp_path / "home")
    said = capsys.readouterr().out
    assert f"{tmp_path}/home/unet/generator is the generator" in said and "to go on" in said
    weights = "unet/generator/unet/diffusion_pytorch_model.safetensors"
    once = load_file(tmp_path / "home" / weights)
    config = json.loads((tmp_path / "home/unet/generator/vae/config.json").read_text("utf-8"))
    assert config["latent_channels"] == 5  # built anew

    shutil.rmtree(tmp_path / "home/unet/generator")
    checkpoints = sorted((tmp_path / "home/unet/unet-train/checkpoints").glob("step-*"))
    shutil.rmtree(checkpoints[-1])
    place = teach.Place(tmp_path / "home", tmp_path / "not needed any more", tiny=True)
    teach.train_part("unet", place, 900)
    again = load_file(tmp_path / "home" / weights)
    assert all(once[key].equal(again[key]) for key in once)


def test_the_steps_of_a_training_are_those_that_fit_its_time(teach, taught):
    lines = (taught / "vae/vae-train/log.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[-1])["step"] == 6
    assert not (taught / "vae/probe").exists()
    assert (taught / "unet/config.yaml").is_file() and (taught / "unet/samples.png").is_file()


def test_a_training_whose_time_is_over_leaves_a_generator(teach, taught, tmp_path, capsys):
    """It says so, and the rest of its steps is left for the same command."""
    work = tmp_path / "work"
    shutil.copytree(taught, work)
    shutil.rmtree(work / "unet/unet-train")
    teach.train_part("unet", teach.Place(work, work, tiny=True), 0.1)
    captured = capsys.readouterr()
    assert "U-Net: stopped at step" in captured.err or '"step": 6' in captured.out
    assert (work / "unet/generator/model_index.json").is_file()


def test_parts_share_the_time_and_what_is_missing_is_said(teach, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text("import time\nprint('{\"step\": 1}', flush=True)\ntime.sleep(60)\n")
    monkeypatch.setattr(teach, "__file__", str(child))
    monkeypatch.setattr(teach, "LIMITS", teach.LIMITS | {"vae": 0.2})
    options = argparse.Namespace(
        work=tmp_path / "work", output=tmp_path / "out", init=tmp_path, pixels=64, tiny=True,
        seconds=0.5, only=["vae", "unet", "card"],
    )  # fmt: skip
    (tmp_path / "work").mkdir()
    teach.teach(options)
    parts = json.loads((tmp_path / "out/teach.json").read_text("utf-8"))["parts"]
    assert parts["vae"]["rows"] == [{"step": 1}]
    assert parts["vae"]["not_whole"] == "cut at its limit of 2 s"
    assert parts["unet"]["not_whole"].startswith("cut at its limit of")
    assert parts["card"]["not_whole"].startswith(("no time was left", "cut at its limit"))
    assert sum(part["seconds"] for part in parts.values()) < 40  # without the cut, 60 each


def test_limits_leave_time_to_bring_the_result_home(teach):
    assert sum(teach.LIMITS.values()) <= teach.SECONDS - 10


def test_a_lost_or_damaged_piece_is_named(teach, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.bin").write_bytes(bytes(range(256)) * 40)
    teach.pack(tmp_path, [tmp_path / "a"], tmp_path / "pieces", "result", 4096)
    pieces = sorted((tmp_path / "pieces").glob("result.tar.*"))
    assert [piece.stat().st_size for piece in pieces[:-1]] == [4096] * (len(pieces) - 1)
    teach.unpack(tmp_path / "pieces", "result", tmp_path / "b")
    assert (tmp_path / "b/a/one.bin").read_bytes() == (tmp_path / "a/one.bin").read_bytes()
    whole = pieces[1].read_bytes()
    pieces[1].write_bytes(b"x" + whole[1:])
    with pytest.raises(ValueError, match=r"result\.tar\.01 is not the piece that was packed"):
        teach.unpack(tmp_path / "pieces", "result", tmp_path / "b")
    pieces[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"result\.tar\.01 is missing, one of"):
        teach.unpack(tmp_path / "pieces", "result", tmp_path / "b")
