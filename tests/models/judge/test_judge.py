"""The judge and its training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dreamdiffusion.models.config import TrainJudgeConfig
from dreamdiffusion.models.judge.judge import Judge, label_indices
from dreamdiffusion.models.judge.train import (
    augment_pictures,
    draw_labelled,
    read_class_folders,
    train_judge,
)
from dreamdiffusion.training.config import OptimConfig, TrainRuntimeConfig
from dreamdiffusion.training.random_numbers import Draw

SHADES = {"dark": (20, 25, 20), "red": (200, 30, 30), "light": (230, 240, 230)}


def class_folders(folder, n=20, size=24):
    rng = np.random.default_rng(0)
    for name, shade in SHADES.items():
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = np.clip(rng.normal(shade, 10, (size, size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02d}.png")
    return folder


def new_judge(*arguments, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Judge(*arguments, **settings)


def config(data, output, **changes):
    return TrainJudgeConfig(
        data=data, output=output, image_size=32, steps=40, batch_size=16, log_every=20,
        validate_every=40, optim=OptimConfig(lr=3e-3), runtime=TrainRuntimeConfig(device="cpu"),
        **changes,
    )  # fmt: skip


def test_separable_classes_are_learned(tmp_path):
    folder = train_judge(config(class_folders(tmp_path / "data"), tmp_path / "judge"))
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["category_accuracy"] == 1.0
    assert scores["n"] == 6
    assert scores["n_train"] == 54
    judge = Judge.from_pretrained(folder)
    assert judge.categories == ["dark", "light", "red"]
    assert judge.colors == []
    assert "60 pictures of 3 class folders" in judge.config["trained_on"]
    red = torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1).expand(2, 3, 50, 50)
    found = judge.predict(red)
    assert list(found) == ["category"]
    assert found["category"].argmax(1).tolist() == [2, 2]
    torch.testing.assert_close(found["category"].sum(1), torch.ones(2))


def test_saving_and_loading_keeps_every_bit(tmp_path):
    judge = new_judge(["cup", "fish"], ["red", "blue", "green"], image_size=32, channels=[8, 16])
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = judge.predict(images, batch_size=2)
    judge.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    again = Judge.from_pretrained(tmp_path)
    after = again.predict(images, batch_size=2)
    assert before["category"].shape == (5, 2)
    assert before["color"].shape == (5, 3)
    assert torch.equal(before["category"], after["category"])
    assert torch.equal(before["color"], after["color"])
    assert again.colors == ["red", "blue", "green"]


def test_predict_leaves_the_mode_and_is_repeatable():
    judge = new_judge(["a", "b"], channels=[8]).train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(judge.predict(images)["category"], judge.predict(images)["category"])
    assert judge.training


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 8, 8) - 1, r"lies in \[-1, -1\], expected \[0, 1\]"),
        (torch.full((1, 3, 8, 8), float("nan")), "expected"),
        (torch.zeros(3, 8, 8), r"shape \(3, 8, 8\), expected \(n, 3, H, W\)"),
    ],
)
def test_predict_rejects_other_ranges_and_shapes(images, message):
    with pytest.raises(ValueError, match=message):
        new_judge(["a", "b"], channels=[8]).predict(images)


def test_the_size_is_small():
    judge = new_judge([str(i) for i in range(24)], [str(i) for i in range(8)])
    assert 300_000 < sum(p.numel() for p in judge.parameters()) < 650_000


def test_unknown_category_is_named():
    assert label_indices(["cup", "fish"], ["fish", "cup"]) == [1, 0]
    with pytest.raises(ValueError, match="does not know the category 'zebra' of the data"):
        label_indices(["cup", "fish"], ["fish", "zebra"])


def test_names_must_differ():
    with pytest.raises(ValueError, match="categories holds a name twice"):
        new_judge(["cup", "cup"])
    with pytest.raises(ValueError, match="two or more"):
        new_judge(["cup"])


def test_augmentation_is_a_function_of_its_generator_and_keeps_hue():
    red = torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1).expand(64, 3, 32, 32)
    one = augment_pictures(red, Draw(1, 0, len(red)))
    assert torch.equal(one, augment_pictures(red, Draw(1, 0, len(red))))
    assert not torch.equal(one, augment_pictures(red, Draw(2, 0, len(red))))
    assert one.min() >= 0
    assert one.max() <= 1
    means = one.mean((2, 3))
    assert (means[:, 0] - means[:, 1:].amax(1) > 0.5).all()


def test_augmentation_moves_but_does_not_lose_the_object():
    image = torch.zeros(32, 3, 32, 32)
    image[:, :, 12:20, 12:20] = 1
    out = augment_pictures(image, Draw(0, 0, len(image)))
    bright = (out.mean(1) > 0.5).sum((1, 2))
    assert bright.min() > 30
    assert bright.max() < 110


def test_drawn_pictures_are_labelled():
    pictures = draw_labelled(40, 32, seed=5)
    assert pictures.images.shape == (40, 3, 32, 32)
    assert pictures.held_out.sum() == 4
    assert len(pictures.names["category"]) >= 24
    assert torch.equal(draw_labelled(40, 32, seed=5).images, pictures.images)


def test_class_folders_hold_out_some_of_every_class(tmp_path):
    pictures = read_class_folders(class_folders(tmp_path / "data", n=4), 16, seed=0)
    assert [int(pictures.held_out[pictures.labels["category"] == i].sum()) for i in range(3)] == [
        1, 1, 1,
    ]  # fmt: skip


def test_bad_class_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_class_folders(tmp_path / "nowhere", 16, 0)
    data = class_folders(tmp_path / "data", n=3)
    (data / "red" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"broken\.png cannot be read"):
        read_class_folders(data, 16, 0)
    (data / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has 0 pictures"):
        read_class_folders(data, 16, 0)


def test_a_judge_starts_from_an_earlier_one_and_says_so(tmp_path):
    data = class_folders(tmp_path / "data")
    first = train_judge(config(data, tmp_path / "first"))
    still = config(data, tmp_path / "more", init=first)
    still.steps, still.optim = 1, OptimConfig(lr=1e-12, weight_decay=0.0)
    again = train_judge(still)
    before, after = Judge.from_pretrained(first), Judge.from_pretrained(again)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value, atol=1e-6, rtol=0)
    assert after.config["trained_on"] == (
        f"{before.config['trained_on']}, from weights trained on {before.config['trained_on']}"
    )
    still.output, still.init = tmp_path / "none", tmp_path / "data"
    with pytest.raises(FileNotFoundError, match="holds no Judge; give the output folder"):
        train_judge(still)


def test_a_picture_that_comes_again_is_named_once(monkeypatch):
    judge = new_judge(["a", "b"], ["red"], image_size=16, channels=[8], trained_on="nothing")
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alone, seen, forward = judge.predict(images), [], judge.forward
    monkeypatch.setattr(judge, "forward", lambda part: seen.append(len(part)) or forward(part))
    again = [1, 1, 2, 0, 1]
    for name, found in judge.predict(images[again]).items():
        torch.testing.assert_close(found, alone[name][again], atol=1e-6, rtol=0)
    assert seen == [3]
