"""Training of the small generator: its data, its losses, and a short run from end to end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from tiny import SIZE, write_generator
from transformers import CLIPModel

from dreamdiffusion.models.config import ImageConditionConfig, TrainGeneratorConfig
from dreamdiffusion.models.generator.build import open_networks
from dreamdiffusion.models.generator.decoder_task import DecoderTask, LastSteps
from dreamdiffusion.models.generator.folder import SCHEDULE
from dreamdiffusion.models.generator.generator import prediction_target
from dreamdiffusion.models.generator.image_projection import ImageProjection
from dreamdiffusion.models.generator.prompt_task import (
    choose_conditions,
    clip_embeddings,
    noise_levels,
)
from dreamdiffusion.models.generator.sources import FixedSource
from dreamdiffusion.models.generator.tasks import (
    ClipImageTask,
    contrastive_loss,
    draw_timesteps,
    loss_weight,
    whitening,
)
from dreamdiffusion.models.generator.train import train_generator
from dreamdiffusion.models.picture_prints import (
    load_descriptions,
    load_prints,
    picture_prints,
    save_prints,
)
from dreamdiffusion.models.pictures import (
    FreshScenes,
    Pictures,
    draw_pictures,
    read_pictures,
    to_tensor,
)
from dreamdiffusion.models.pixels import signed
from dreamdiffusion.training.random_numbers import Draw

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def write(path: Path, color: tuple[int, int, int] = (255, 0, 0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), color).save(path)


def test_class_folders_give_captions_and_pixels(tmp_path: Path) -> None:
    write(tmp_path / "ripe_apple" / "a.png")
    write(tmp_path / "leaf" / "b.jpg", (0, 0, 255))
    pictures = read_pictures(tmp_path, 16, flip=True)
    assert pictures.captions == ["a picture of leaf", "a picture of ripe apple"] * 2
    assert pictures.pixels.shape == (4, 16, 16, 3)
    assert np.abs(pictures.pixels[1].astype(int) - (255, 0, 0)).max() == 0
    assert np.array_equal(pictures.pixels[0][:, ::-1], pictures.pixels[2])
    assert to_tensor(pictures.pixels)[1, :, 0, 0].tolist() == [1, 0, 0]


def test_metadata_gives_captions(tmp_path: Path) -> None:
    write(tmp_path / "x.png")
    row = {"file_name": "x.png", "text": "a red field"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    assert read_pictures(tmp_path, 8).captions == ["a red field"]
    (tmp_path / "metadata.jsonl").write_text(json.dumps(row | {"file_name": "y.png"}), "utf-8")
    with pytest.raises(FileNotFoundError, match=r"y\.png does not exist"):
        read_pictures(tmp_path, 8)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "x.png"}', "utf-8")
    with pytest.raises(ValueError, match="row 1: expected file_name and text"):
        read_pictures(tmp_path, 8)


def test_bad_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        read_pictures(tmp_path / "nowhere", 8)
    with pytest.raises(ValueError, match="holds no picture"):
        read_pictures(tmp_path, 8)
    write(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png has no caption"):
        read_pictures(tmp_path, 8)
    (tmp_path / "loose.png").unlink()
    write(tmp_path / "class" / "cut.png")
    whole = (tmp_path / "class" / "cut.png").read_bytes()
    (tmp_path / "class" / "cut.png").write_bytes(whole[:40])
    with pytest.raises(ValueError, match=r"cut\.png cannot be read"):
        read_pictures(tmp_path, 8)


def test_drawn_pictures_depend_on_the_seed_alone() -> None:
    first, again, other = (draw_pictures(4, 16, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.pixels, again.pixels) and first.captions == again.captions
    assert not np.array_equal(first.pixels, other.pixels)


def test_one_picture_is_a_list_of_one() -> None:
    pictures = draw_pictures(3, SIZE, 0)
    one = torch.tensor([2])
    assert pictures.images(one).shape == (1, 3, SIZE, SIZE)
    assert np.array_equal(pictures.select(one).pixels, pictures.pixels[2:])


def test_contrastive_loss_by_hand() -> None:
    """Two pictures share a caption: both are right for it. Logits are 0 or ln 3."""
    ids = torch.tensor([4, 4, 9])
    logits = torch.log(torch.tensor([[3.0, 1, 1], [1, 3, 1], [1, 1, 3]]))
    # Softmax over 3, 1, 1: .6, .2, .2. Rows 1 and 2: -(ln .6 + ln .2) / 2; row 3: -ln .6.
    shared = -(np.log(0.6) + np.log(0.2)) / 2
    expected = (2 * shared - np.log(0.6)) / 3
    assert float(contrastive_loss(logits, ids)) == pytest.approx(expected, rel=1e-5)


def test_weights_of_the_timesteps() -> None:
    """By hand: SNR = a / (1 - a), capped at gamma; the velocity counts one more."""
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = np.cumprod(1 - beta)
    timesteps = torch.tensor([0, 100, 500, 999])
    for kind, more in (("epsilon", 0), ("v_prediction", 1)):
        to_noise = kind == "v_prediction"  # the noise cannot be weighted where nothing else is left
        schedule = SCHEDULE | {"prediction_type": kind, "rescale_betas_zero_snr": to_noise}
        scheduler = DDPMScheduler(**schedule)
        root = np.sqrt(alpha)
        kept = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2 if to_noise else alpha
        counts = kept / (1 - kept) + more
        expected = np.minimum(counts, 5) / counts
        got = loss_weight(scheduler, timesteps, 5.0).numpy()
        np.testing.assert_allclose(got, expected[timesteps], rtol=1e-3)
        assert expected[999] == 1 and expected[0] < 0.01


def test_drawing_begins_where_nothing_is_left_of_the_picture() -> None:
    """The last timestep is noise alone; 12 % of all have less picture left than ever before."""
    training, drawing = DDPMScheduler(**SCHEDULE), DPMSolverMultistepScheduler(**SCHEDULE)
    latents, noise = torch.ones(1, 4, 2, 2), torch.full((1, 4, 2, 2), 3.0)
    last = torch.tensor([999])
    torch.testing.assert_close(training.add_noise(latents, noise, last), noise)  # pyright: ignore[reportArgumentType]
    drawing.set_timesteps(10)
    assert drawing.timesteps.tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    before = DDPMScheduler(**(SCHEDULE | {"rescale_betas_zero_snr": False})).alphas_cumprod[-1]
    assert 110 <= int((training.alphas_cumprod < before).sum()) <= 130


def test_a_quarter_of_the_timesteps_is_of_the_noisiest_tenth() -> None:
    """.25 of them by choice, and a tenth of the others."""
    drawn = draw_timesteps(Draw(0, 0, 20_000), 1000)
    assert drawn.min() == 0 and drawn.max() == 999
    assert float((drawn >= 900).float().mean()) == pytest.approx(0.25 + 0.75 * 0.1, abs=0.01)
    rest = drawn[drawn < 900].float()
    assert float(rest.mean()) == pytest.approx(449.5, abs=8)
    again = draw_timesteps(Draw(0, 0, 20_000, slice(0, 100)), 1000)
    assert torch.equal(again, drawn[:100])  # in parts as at once


def test_target_is_the_noise_or_the_velocity() -> None:
    """v = sqrt(a) noise - sqrt(1 - a) latents (Salimans and Ho 2022); unknown kinds are named."""
    latents, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    timesteps = torch.tensor([10, 900])

    def target(kind: str) -> torch.Tensor:
        scheduler = DDPMScheduler(**(SCHEDULE | {"prediction_type": kind}))
        return prediction_target(scheduler, latents, noise, timesteps)

    a = DDPMScheduler(**SCHEDULE).alphas_cumprod[timesteps].view(2, 1, 1, 1)
    assert torch.equal(target("epsilon"), noise)
    torch.testing.assert_close(target("v_prediction"), a.sqrt() * noise - (1 - a).sqrt() * latents)
    with pytest.raises(ValueError, match="'sample'"):
        target("sample")


def test_image_tower_learns_each_length_of_caption_by_itself(tmp_path: Path) -> None:
    """The loss is the mean over the lengths; within one, pictures of the same text agree."""
    clip = CLIPModel.from_pretrained(write_generator(tmp_path / "generator") / "clip").float()
    pixels = np.random.default_rng(0).integers(0, 255, (4, SIZE, SIZE, 3), dtype=np.uint8)
    pictures = Pictures(pixels, ["a"] * 4)
    tokens = torch.tensor([[0, 5, 1, 1], [0, 6, 1, 1], [0, 7, 1, 1], [0, 8, 1, 1]])
    everyone = torch.arange(4)

    long, short = [0, 1, 2, 3], [0, 0, 1, 1]
    task = ClipImageTask(clip, pictures, tokens, torch.tensor([long, short]))

    def loss(ids: list[list[int]]) -> float:
        task.caption_ids = torch.tensor(ids)
        return float(task.loss(everyone, Draw(0, 0, 4))["loss"].detach())

    assert loss([long, short]) == pytest.approx((loss([long]) + loss([short])) / 2, rel=1e-5)
    # Where all pictures say the same, no text can be told from another: at best one in four.
    assert loss([[2, 2, 2, 2]]) >= np.log(4) - 1e-5
    assert not any(p.requires_grad for p in clip.text_model.parameters())
    assert not clip.text_projection.weight.requires_grad
    assert all(p.requires_grad for p in clip.vision_model.parameters())


def test_whitened_features_vary_alike_in_all_directions() -> None:
    """Features on an ellipse of axes 10 and 1 become features on a circle; none are made up."""
    angles = torch.arange(8) * torch.pi / 4
    features = torch.stack([10 * angles.cos(), angles.sin()], 1)
    white = features @ whitening(features, 2).T
    torch.testing.assert_close(white.T @ white / 8, torch.eye(2), atol=0.02, rtol=0)
    torch.testing.assert_close(white.norm(dim=1), torch.full((8,), 2**0.5), atol=0.02, rtol=0)
    wide = whitening(features, 3)
    assert wide.shape == (3, 2)
    assert not wide[2].any()
    # One direction of two: the larger. Directions of mere rounding stay small.
    torch.testing.assert_close(features @ whitening(features, 1).T, white[:, :1])
    flat = torch.stack([10 * angles.cos(), 1e-6 * angles.sin()], 1)
    assert (flat @ whitening(flat, 2).T)[:, 1].abs().max() < 1e-4


def test_drawn_pictures_have_captions_of_three_lengths() -> None:
    pictures = draw_pictures(12, SIZE, seed=3)
    for texts in zip(pictures.captions, *pictures.captions_by_length, strict=True):
        caption, full, colored, short = texts
        assert caption in (full, colored, short)
        assert full.startswith(colored) and colored.endswith(short.split(" ", 1)[1])


def test_trains_from_class_folders_and_opens_as_stable_diffusion(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        for i in range(6):
            pixels = rng.integers(0, 60, (SIZE, SIZE, 3)).astype(np.uint8)
            pixels[..., channel] = 230
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    short = {"steps": 3, "batch_size": 4, "runtime": {"device": "cpu"}}
    config = TrainGeneratorConfig(
        data=tmp_path / "data",
        output=tmp_path / "out",
        image_size=SIZE,
        clip={"width": 32, "layers": 1, "heads": 2, "projection_dim": 8, "vocab_size": 600},
        vae={"channels": [16, 16]},
        unet={"channels": [32, 32], "layers_per_block": 1, "heads": 2},
        clip_train=short,
        clip_image_train=short,
        vae_train=short | {"steps": 30},
        unet_train=short,
    )
    folder = train_generator(config)
    losses = [
        json.loads(line)["loss"]
        for line in (tmp_path / "out" / "vae-train" / "log.jsonl").read_text().splitlines()
    ]
    assert np.isfinite(losses).all()
    assert (tmp_path / "out" / "samples.png").is_file()
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    # Latents of unit variance are what the noise schedule assumes.
    pixels = to_tensor(read_pictures(tmp_path / "data", SIZE).pixels)
    with torch.no_grad():
        latents = pipe.vae.float().encode(signed(pixels)).latent_dist.mode()
    assert float(latents.std() * pipe.vae.config["scaling_factor"]) == pytest.approx(1, abs=0.02)
    # A second generator may start from the first.
    again = config.model_copy(update={"init": folder, "output": tmp_path / "again"})
    assert (train_generator(again) / "clip" / "config.json").is_file()


def test_learns_from_embeddings_and_opens_for_text_alone(tmp_path: Path) -> None:
    """CLIP and VAE stay as in ``init``, the text encoder learns; a resumed run ends the same."""
    start = write_generator(tmp_path / "start")
    seen = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    save_prints(start, seen)

    def config(output: Path, steps: int = 4) -> TrainGeneratorConfig:
        short = {"steps": steps, "batch_size": 8, "checkpoint_every": 2}
        return TrainGeneratorConfig(
            init=start,
            output=output,
            image_size=SIZE,
            fresh_scenes=True,
            image_condition={"n_tokens": 2, "width": 16},
            clip_train=None,
            clip_image_train=None,
            vae_train=None,
            unet_train=short | {"seed": 5, "runtime": {"device": "cpu", "precision": "fp32"}},
        )

    folder = train_generator(config(tmp_path / "out"))
    for part in ("vae/diffusion_pytorch_model", "clip/model", "text_encoder/model"):
        before, after = (load_file(f / f"{part}.safetensors") for f in (start, folder))
        same = all(torch.equal(before[key], after[key]) for key in before)
        assert same == (part != "text_encoder/model")
    for written in folder.rglob("*.json"):
        assert str(tmp_path) not in written.read_text("utf-8"), written
    projection = ImageProjection.from_pretrained(folder / "image_projection")
    fresh = FreshScenes(SIZE, 5).read(torch.arange(32))
    clip = CLIPModel.from_pretrained(folder / "clip").float()
    z = projection.standardise(clip_embeddings(clip, fresh.images(slice(None))))
    torch.testing.assert_close(z.mean(0), torch.zeros(8), atol=0.02, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(8), atol=0.02, rtol=0)
    prints = load_prints(folder)
    assert prints is not None
    assert set(prints) == {*picture_prints(seen), *picture_prints(fresh.pixels)}
    described = load_descriptions(folder)
    assert described is not None
    assert len(described) == len(seen)  # of files; the drawn ones have prints alone
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    assert pipe("a red apple", num_inference_steps=1, height=SIZE, width=SIZE).images

    stopped = tmp_path / "stopped"
    train_generator(config(stopped))
    shutil.rmtree(stopped / "unet-train" / "checkpoints" / "step-00000004")
    again = load_file(train_generator(config(stopped)) / "unet/diffusion_pytorch_model.safetensors")
    once = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(once[key], again[key]) for key in once)


def test_the_decoder_learns_alone_and_latents_stay(tmp_path: Path) -> None:
    """Its discriminator learns too; U-Net, CLIP and what understands embeddings come along."""
    start = write_generator(tmp_path / "start")
    torch.manual_seed(0)
    ImageProjection(8, 2, 32, 16).save_pretrained(start / "image_projection")
    short = {"steps": 30, "batch_size": 4, "log_every": 1, "optim": {"lr": 1e-3}}
    config = TrainGeneratorConfig(
        init=start,
        output=tmp_path / "out",
        image_size=SIZE,
        fresh_scenes=True,
        clip_train=None,
        clip_image_train=None,
        vae_train=None,
        decoder_train=short | {"runtime": {"device": "cpu", "precision": "fp32"}},
        unet_train=None,
    )
    folder = train_generator(config)
    for written in folder.rglob("*.json"):
        assert str(tmp_path) not in written.read_text("utf-8"), written
    for part in ("unet", "vae"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        before, after = load_file(start / name), load_file(folder / name)
        changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
        assert changed == ({"decoder", "post_quant_conv"} if part == "vae" else set())
    assert (folder / "image_projection" / "config.json").is_file()
    log = [
        json.loads(x)
        for x in (tmp_path / "out/decoder-train/log.jsonl").read_text().split("\n")
        if x
    ]
    assert log[-1]["pixel"] < 0.8 * log[0]["pixel"]
    assert log[-1]["verdict"] != log[0]["verdict"]


def test_each_half_of_the_loss_teaches_its_own_network(tmp_path: Path) -> None:
    """The decoder's gradient holds nothing of the discriminator's aim, and the other way round."""
    networks = open_networks(write_generator(tmp_path / "g"), SIZE)
    vae, pictures = networks.vae.eval(), draw_pictures(2, SIZE, 0)

    def last_steps(latents, captions, noise, uniform):
        assert len(latents) == len(captions) == len(noise) == len(uniform) == 1  # of 2
        return latents

    steps = LastSteps(networks.unet, DDPMScheduler(**SCHEDULE), last_steps)
    task = DecoderTask(vae, FixedSource(pictures), steps, seed=0)
    task.last_steps = last_steps
    images = signed(pictures.images(slice(None)))
    task.loss(torch.arange(2), Draw(0, 0, 2))["loss"].backward()
    got = task.discriminator.verdict.bias.grad
    with torch.no_grad():
        drawn = vae.decode(vae.encode(images).latent_dist.mode()).sample
    true, false = task.discriminator(images)[0], task.discriminator(drawn)[0]
    verdict = torch.relu(1 - true).mean() + torch.relu(1 + false).mean()
    (expected,) = torch.autograd.grad(verdict, task.discriminator.verdict.bias)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-2)
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert all(p.grad is not None for p in vae.decoder.parameters())


def test_the_last_steps_of_a_drawing() -> None:
    """A U-Net that knows the velocity gives the latents back; one that says 0 keeps their share."""
    scheduler = DDPMScheduler(**SCHEDULE)
    rng = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(3, 4, 2, 2, generator=rng), torch.randn(3, 4, 2, 2, generator=rng)
    uniform = torch.tensor([0.0, 0.5, 0.9999])
    timesteps = [torch.tensor([0, 300, 599]), torch.tensor([0, 150, 299])]
    asked = []

    def encode(captions):
        assert captions == ["a", "b", "c"]
        return torch.zeros(3, 8, 5)

    def knowing(noisy, at, tokens, return_dict):
        asked.append(at)
        return (prediction_target(scheduler, latents, noise, at),)

    def silent(noisy, *_, **__):
        return (torch.zeros_like(noisy),)

    known = LastSteps(knowing, scheduler, encode)(latents, ["a", "b", "c"], noise, uniform)
    torch.testing.assert_close(known, latents, atol=1e-5, rtol=1e-5)
    assert [at.tolist() for at in asked] == [at.tolist() for at in timesteps]
    # Without velocity both the picture and the noise are shares of what is there: sqrt(kept) and
    # sqrt(1 - kept) of it.
    first, second = (scheduler.alphas_cumprod[at].view(-1, 1, 1, 1) for at in timesteps)
    noisy = first.sqrt() * latents + (1 - first).sqrt() * noise
    noisy = (second * first).sqrt() * noisy + ((1 - second) * (1 - first)).sqrt() * noisy
    left = LastSteps(silent, scheduler, encode)(latents, ["a", "b", "c"], noise, uniform)
    torch.testing.assert_close(left, second.sqrt() * noisy, atol=1e-5, rtol=1e-5)


def test_shares_of_captions_and_embeddings() -> None:
    """Of 20 pictures 5 have a caption alone, 8 an embedding alone, 5 both, 2 neither."""
    uniform = (torch.arange(20) + 0.5) / 20
    has_text, has_image = choose_conditions(uniform, ImageConditionConfig())
    kinds = [(bool(t), bool(i)) for t, i in zip(has_text, has_image, strict=True)]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    expected = {(True, False): 5, (False, True): 8, (True, True): 5, (False, False): 2}
    assert counts == expected
    level = noise_levels(
        torch.tensor([0.0, 0.69, 0.71]), torch.tensor([0.5, 1, 1]), ImageConditionConfig()
    )
    assert level.tolist() == pytest.approx([0.6, 1.2, 0])


def test_fresh_scenes_depend_on_seed_and_place_alone() -> None:
    scenes = FreshScenes(SIZE, 1)
    both, second = scenes.read(torch.tensor([4, 7])), scenes.read(torch.tensor([7]))
    assert np.array_equal(both.pixels[1], second.pixels[0]) and both.captions[1:] == second.captions
    assert not np.array_equal(both.pixels[0], both.pixels[1])
    assert not np.array_equal(FreshScenes(SIZE, 2).read(torch.tensor([7])).pixels, second.pixels)
    # Another stream than that of the fixed pictures: none is the same.
    prints = picture_prints(FreshScenes(SIZE, 0).read(torch.arange(40)).pixels)
    assert not set(prints) & set(picture_prints(draw_pictures(40, SIZE, 0).pixels))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vae_train": None}, "vae_train is empty"),
        ({"fresh_scenes": True}, "needs image_condition"),
        ({"fresh_scenes": True, "data": "x"}, "leave one of them out"),
        ({"init": "x", "unet_train": None}, "are empty; set one"),
        ({"new_vae": True}, "needs init and vae_train"),
        ({"init": "x", "distill_train": {}}, "leave unet_train empty"),
        ({"init": "x", "distill_train": {}, "unet_train": None}, "set image_condition"),
        ({"image_condition": {"text_only": 0.8, "both": 0.3}}, "sum to 1.2"),
    ],
)
def test_configurations_that_cannot_be_meant(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainGeneratorConfig(**given)
