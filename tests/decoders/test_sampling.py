"""Images of many trials: what is drawn for one depends neither on its batch nor on its company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import finetune_config

from dreamdiffusion.decoders.config import SampleConfig
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.fit import open_image_decoder
from dreamdiffusion.decoders.sampling import collect, decode_batches
from dreamdiffusion.trials.trials import Trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(tmp_path_factory.mktemp("drawing"))).parent.parent


def draw(folder: Path, rows: list[int], batch_size: int, seed: int = 0) -> torch.Tensor:
    decoder = open_image_decoder(folder / "finetune" / "model")
    trials = Trials.load(folder / "trials").select(np.array(rows))
    sample = SampleConfig(num_inference_steps=2, num_images_per_prompt=2, seed=seed)
    parts = decode_batches(decoder, trials, sample, np.array(rows), batch_size, "test")
    images = collect(list(parts)).images
    assert images is not None
    return images


def test_an_image_depends_on_its_trial_and_the_seed_alone(folder: Path) -> None:
    whole = draw(folder, [2, 5, 9], batch_size=3)
    assert whole.shape[:3] == (3, 2, 3)
    torch.testing.assert_close(draw(folder, [2, 5, 9], batch_size=2), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(draw(folder, [9], batch_size=4), whole[2:], atol=1e-5, rtol=0)
    assert not torch.allclose(whole[0, 0], whole[0, 1], atol=1e-3)  # two images of one trial
    assert not torch.allclose(draw(folder, [9], 4, seed=1), whole[2:], atol=1e-3)


def test_processes_deal_the_batches_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, one after the other: together they draw every trial once, the same image."""
    decoder = open_image_decoder(folder / "finetune" / "model")
    trials, rows = Trials.load(folder / "trials").select(np.arange(5)), np.arange(5)
    sample = SampleConfig(num_inference_steps=1, num_images_per_prompt=1)
    parts = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        parts.append(list(decode_batches(decoder, trials, sample, rows, 2, "-")))
    assert [[places.tolist() for places, _ in part] for part in parts] == [[[0, 1], [4]], [[2, 3]]]
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    together = collect(parts[1] + parts[0])
    alone = collect(list(decode_batches(decoder, trials, sample, rows, 5, "-")))
    torch.testing.assert_close(together.images, alone.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.embeddings, alone.embeddings, atol=1e-5, rtol=0)
