"""Pre-training: honest splits, baselines by hand, learning, and a kill that changes no bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from window_folders import table, write_windows

from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.models.encoders.pretrain import (
    MaskedSignalModelling,
    interpolate_hidden,
    pretrain,
    split_windows,
)
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.trials.windows.store import WindowStore

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

TINY = {
    "patch_size": 4,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "decoder_embed_dim": 32,
    "decoder_depth": 1,
    "decoder_num_heads": 4,
}


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    """Runs here use one thread; the tests after them get back what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def sinusoids(n: int, n_chans: int = 3, n_times: int = 32) -> np.ndarray:
    """Unit-variance sinusoids of 4 to 10 Hz at 64 Hz; channels differ in phase."""
    rng = np.random.default_rng(0)
    time = np.arange(n_times) / 64
    rate = rng.uniform(4, 10, size=(n, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, size=(n, 1, 1)) + np.arange(n_chans)[:, None]
    return (np.sqrt(2) * np.sin(2 * np.pi * rate * time + phase)).astype(np.float32)


def tiny_config(folder: Path, **changes: object) -> PretrainConfig:
    content: dict = {
        "data": folder / "windows",
        "output": folder / "run",
        "encoder": TINY,
        "steps": 12,
        "batch_size": 8,
        "checkpoint_every": 2,
        "validate_every": 6,
        "log_every": 1,
        "optim": {"lr": 2e-3, "warmup_steps": 2},
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
    }
    return PretrainConfig.model_validate(content | changes)


def make_task(folder: Path, *data: np.ndarray, **changes: object) -> MaskedSignalModelling:
    write_windows(folder / "windows", *data)
    return MaskedSignalModelling(
        WindowStore.load(folder / "windows"), tiny_config(folder, **changes)
    )


# --- which windows are held out --------------------------------------------------------------


def test_whole_subjects_are_held_out():
    metadata = table(400, n_subjects=40)
    split = split_windows(metadata, 0.5, 0.05, seed=0)
    assert split.by == "subject"
    assert len(split.held_out) == 2
    assert set(metadata["subject"][split.validation]) == set(split.held_out)
    assert not set(metadata["subject"][split.train]) & set(split.held_out)
    assert len(split.train) + len(split.validation) == 400


def test_recordings_are_held_out_where_there_are_few_subjects():
    metadata = table(240, n_subjects=2, runs=12)
    split = split_windows(metadata, 0.5, 0.1, seed=0)
    name = metadata["subject"] + "/" + metadata["run"]
    assert split.by == "recording"
    assert len(split.held_out) == 2
    assert not set(name[split.validation]) & set(name[split.train])


def test_unnamed_subjects_are_not_taken_for_one_person():
    metadata = table(240, n_subjects=1, runs=24).assign(subject="")
    assert split_windows(metadata, 0.5, 0.1, seed=0).by == "recording"


def test_the_end_of_a_lone_recording_is_held_out_and_nothing_overlaps():
    metadata = table(100, n_subjects=1, stride=0.25)
    split = split_windows(metadata, 0.5, 0.1, seed=0)
    assert split.by == "end of each recording"
    assert split.validation.tolist() == list(range(90, 100))
    assert split.train.tolist() == list(range(89))  # 89 starts at 22.25 s, held out is 22.5 s
    flush = split_windows(table(100, n_subjects=1, stride=0.5), 0.5, 0.1, seed=0)
    assert flush.train.tolist() == list(range(90))


def test_split_depends_on_the_seed_only():
    metadata = table(400, n_subjects=40)
    assert (
        split_windows(metadata, 0.5, 0.1, 3).held_out
        == split_windows(metadata, 0.5, 0.1, 3).held_out
    )
    assert len({tuple(split_windows(metadata, 0.5, 0.1, seed).held_out) for seed in range(5)}) > 1


def test_nothing_left_to_train_on():
    with pytest.raises(ValueError, match="1 windows of 1 recordings leave 0 to train"):
        split_windows(table(1, n_subjects=1), 0.5, 0.1, seed=0)
    assert len(split_windows(table(1, n_subjects=1), 0.5, 0.0, seed=0).train) == 1


# --- the task --------------------------------------------------------------------------------


def test_interpolation_by_hand():
    eeg = torch.tensor([[[0.0, 9, 9, 3, 4, 9]]])
    mask = torch.tensor([[0.0, 1, 1, 0, 0, 1]])
    assert interpolate_hidden(eeg, mask, 1)[0, 0].tolist() == [0, 1, 2, 3, 4, 4]


def test_baselines_by_hand(tmp_path: Path):
    task = make_task(tmp_path, np.full((40, 3, 32), 2.0, dtype=np.float32))
    with torch.no_grad():
        task.model.decoder_pred.weight.zero_()
        task.model.decoder_pred.bias.fill_(1.0)
    figures = task.measure(np.arange(40), control=True)
    assert figures == pytest.approx(
        {
            "validation_loss": 1.0,
            "baseline_zero": 4.0,
            "baseline_interpolation": 0.0,
            "shuffled_eeg_loss": 1.0,
            "explained_variance": 0.75,
        }
    )


def test_loss_reads_training_windows_only(tmp_path: Path):
    data = sinusoids(80)
    task = make_task(tmp_path / "a", data)
    held_out = task.split.validation
    assert task.n_samples == 80 - len(held_out) == 76
    data[held_out] = np.nan
    task = make_task(tmp_path / "b", data)
    assert task.split.validation.tolist() == held_out.tolist()
    indices = torch.arange(task.n_samples)
    assert torch.isfinite(task.loss(indices, Draw(0, 0, len(indices)))["loss"])


def test_values_are_cut_where_the_configuration_says(tmp_path: Path):
    data = sinusoids(40)
    data[3, 0, :2] = [40.0, -40.0]
    task = make_task(tmp_path, data, clip=5.0)
    assert task.batch(np.array([3])).eeg[0, 0, :2].tolist() == [5.0, -5.0]
    kept = data[4].astype(np.float16)
    np.testing.assert_array_equal(task.batch(np.array([4])).eeg[0], kept)


def test_few_channels_are_tiled_and_many_are_refused(tmp_path: Path):
    data = sinusoids(40)
    task = make_task(tmp_path / "a", data, n_chans=7)
    kept = data[5].astype(np.float16)  # as the store has it
    np.testing.assert_array_equal(task.batch(np.array([5])).eeg[0], np.resize(kept, (7, 32)))
    assert task.model.encoder.config["n_chans"] == 7
    with pytest.raises(ValueError, match=r"3 channels.*at most 2.*picks"):
        make_task(tmp_path / "b", data, n_chans=2)
    with pytest.raises(ValueError, match=r"n_times is 30.*multiple of patch_size 4"):
        make_task(tmp_path / "c", sinusoids(40, n_times=30))


def test_headsets_of_several_sizes_train_together(tmp_path: Path):
    two, three = np.full((40, 2, 32), 2.0), np.full((40, 3, 32), 3.0)
    rows = np.array([45, 3])
    tiled = make_task(tmp_path / "tiled", two, three, n_chans=4)
    eeg, positions = tiled.batch(rows)
    assert eeg[:, :, 0].tolist() == [[3, 3, 3, 3], [2, 2, 2, 2]] and positions is None

    task = make_task(tmp_path / "any", two, three, encoder=TINY | {"montage": "any"})
    eeg, positions = task.batch(rows)
    assert eeg[:, :, 0].nan_to_num(-1).tolist() == [[3, 3, 3], [2, 2, -1]]
    store = WindowStore.load(tmp_path / "any" / "windows")
    for place, number in ((0, 1), (1, 0)):
        expected = np.random.default_rng(number).normal(0, 0.09, (3 - place, 3))
        np.testing.assert_allclose(positions[place, : 3 - place], expected, rtol=1e-6)
    assert [store.channels_of(int(row)) for row in rows] == [["E10", "E11", "E12"], ["E0", "E1"]]
    # A model that says 1 everywhere; an absent channel is no channel with an error.
    with torch.no_grad():
        task.model.decoder_pred.weight.zero_()
        task.model.decoder_pred.bias.fill_(1.0)
    figures = task.measure(np.arange(80), control=True)
    assert figures == pytest.approx(
        {
            "validation_loss": (1 + 4) / 2,
            "baseline_zero": (4 + 9) / 2,
            "baseline_interpolation": 0.0,
            "shuffled_eeg_loss": (1 + 4) / 2,
            "explained_variance": 1 - 5 / 13,
        },
        abs=1e-6,
    )


def test_channels_hidden_as_a_whole_are_predicted_from_the_others(tmp_path: Path):
    with pytest.raises(ValueError, match=r"channel_dropout is 0\.3, expected 0 with encoder.mont"):
        make_task(tmp_path / "a", sinusoids(40), channel_dropout=0.3)
    montage = TINY | {"montage": "any"}
    task = make_task(tmp_path / "b", sinusoids(40), encoder=montage, channel_dropout=0.9)
    plain = make_task(tmp_path / "c", sinusoids(40), encoder=montage)
    indices = torch.arange(20)
    with torch.no_grad():
        # The same weights and masks: what differs is what the encoder was shown.
        noise = Draw(0, 0, 20)
        shown = task.loss(indices, noise)["loss"]
        same = plain.loss(indices, Draw(0, 0, 20))["loss"]
    assert torch.isfinite(shown) and float(shown) != float(same)


def test_pretraining_on_any_montage_writes_what_finetuning_reads(tmp_path: Path):
    write_windows(tmp_path / "windows", sinusoids(80, n_chans=2), sinusoids(80, n_chans=3))
    config = tiny_config(
        tmp_path, steps=4, encoder=TINY | {"montage": "any"}, n_chans=6, channel_dropout=0.2
    )
    output = pretrain(config)
    known = json.loads((output / "input.json").read_text())
    assert (known["montage"], known["n_chans"], known["tiled"]) == ("any", 6, False)
    assert known["montages"] == [["E0", "E1"], ["E10", "E11", "E12"]]
    encoder = EEGEncoder.from_pretrained(output / "encoder")
    embedding = encoder(torch.randn(2, 5, 32), torch.randn(5, 3) / 10)
    assert embedding.shape == (2, 8, TINY["embed_dim"])
    assert (output / "reconstruction.png").stat().st_size > 10_000


def test_no_windows_is_an_error_that_names_the_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="windows"):
        pretrain(tiny_config(tmp_path))


# --- the whole stage -------------------------------------------------------------------------


def test_learns_sinusoids_better_than_the_mean(tmp_path: Path):
    data = sinusoids(600)
    write_windows(tmp_path / "windows", data)
    config = tiny_config(
        tmp_path,
        steps=450,
        batch_size=64,
        checkpoint_every=1000,
        validate_every=1000,
        mask_ratio=0.5,
        validation_fraction=0.1,
        optim={"lr": 3e-3, "warmup_steps": 20},
    )
    output = pretrain(config)
    scores = json.loads((output / "scores.json").read_text())
    assert scores["split"] == "validation, held out by subject"
    assert (scores["n"], scores["n_train"], scores["simulated"]) == (60, 540, True)
    assert scores["baseline_zero"] == pytest.approx(1.0, abs=0.1)
    assert scores["validation_loss"] < 0.4 * scores["baseline_zero"]
    assert scores["validation_loss"] < scores["baseline_interpolation"]
    assert scores["shuffled_eeg_loss"] > scores["baseline_zero"]
    assert scores["explained_variance"] == pytest.approx(
        1 - scores["validation_loss"] / scores["baseline_zero"]
    )
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])

    encoder = EEGEncoder.from_pretrained(output / "encoder")
    autoencoder = MaskedAutoencoder.from_pretrained(output / "mae")
    eeg = torch.from_numpy(data[:2])
    assert torch.equal(encoder(eeg), autoencoder.encoder(eeg))
    known = json.loads((output / "input.json").read_text())
    assert known["montages"] == [["E0", "E1", "E2"]]
    assert (known["n_chans"], known["n_times"], known["sfreq"]) == (3, 32, 64.0)
    with Image.open(output / "reconstruction.png") as picture:
        assert picture.width > 1000
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_another_configuration_does_not_resume(tmp_path: Path):
    write_windows(tmp_path / "windows", sinusoids(80))
    pretrain(tiny_config(tmp_path, steps=2))
    with pytest.raises(ValueError, match="mask_ratio"):
        pretrain(tiny_config(tmp_path, steps=2, mask_ratio=0.5))


RUN = """
import sys
from pathlib import Path
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.models.encoders.pretrain import pretrain
pretrain(PretrainConfig.model_validate(read_yaml(Path(sys.argv[1]))))
"""


def last_step(log: Path) -> int:
    lines = log.read_text().splitlines() if log.exists() else []
    return len([line for line in lines if '"loss"' in line])


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path):
    write_windows(tmp_path / "windows", sinusoids(80))
    whole = pretrain(tiny_config(tmp_path, steps=60, output=tmp_path / "whole"))
    config = tiny_config(tmp_path, steps=60, output=tmp_path / "killed")
    write_yaml(config, tmp_path / "config.yaml")
    command = [sys.executable, "-c", RUN, str(tmp_path / "config.yaml")]
    source = str(Path(__file__).parents[3] / "src")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    killed = tmp_path / "killed"
    stop_after = int(np.random.default_rng().integers(3, 45))
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while last_step(killed / "log.jsonl") < stop_after and time.monotonic() < deadline:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "encoder").exists()
    resumed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resuming at step" in resumed.stderr
    for part in ("encoder", "mae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        expected, found = load_file(whole / name), load_file(killed / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), f"{stop_after=}"
    assert (whole / "scores.json").read_text() == (killed / "scores.json").read_text()


# --- going on --------------------------------------------------------------------------------


def test_a_finished_training_gets_more_steps_from_its_weights(tmp_path):
    write_windows(tmp_path / "windows", sinusoids(40))
    first = pretrain(tiny_config(tmp_path))
    wanted = rf"written with steps = 12, .* another output folder, and --init {first} to start"
    with pytest.raises(ValueError, match=wanted):
        pretrain(tiny_config(tmp_path, steps=16))
    changes = {"output": tmp_path / "more", "init": first, "steps": 4}
    slow = {"lr": 1e-12, "warmup_steps": 0, "weight_decay": 0.0}
    more = pretrain(tiny_config(tmp_path, **changes, optim=slow))
    before, after = (
        load_file(folder / "mae" / "diffusion_pytorch_model.safetensors")
        for folder in (first, more)
    )
    for name, value in before.items():  # at such a rate nothing moves: it is where it began
        torch.testing.assert_close(after[name], value, atol=1e-6, rtol=0)
    lines = (more / "log.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["step"] == 1  # a schedule of its own
    other = {"output": tmp_path / "other", "encoder": {**TINY, "embed_dim": 2 * TINY["embed_dim"]}}
    with pytest.raises(ValueError, match=r"with embed_dim"):
        pretrain(tiny_config(tmp_path, **{**changes, **other}))
