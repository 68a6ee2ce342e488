"""The pipeline: shapes, seeds, guidance, what it refuses, and its two formats on disk."""

from __future__ import annotations

import json
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import SIZE, finetune_config, write_generator

from dreamdiffusion.decoders.dreamdiffusion.adapter import CROSS_ATTENTION, clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.models.generator.generator import (
    change_scheduler,
    decode_latents,
    encode_images,
)
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(tmp_path_factory.mktemp("pipeline"))).parent.parent


@pytest.fixture
def pipe(folder: Path) -> EEGToImagePipeline:
    pipe = EEGToImagePipeline.from_pretrained(folder / "finetune" / "model")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def trials(folder: Path) -> Trials:
    return Trials.load(folder / "trials").select(np.arange(3))


def draw(pipe: EEGToImagePipeline, trials: Trials, seed: int = 0, **changes: object):
    settings = {"num_inference_steps": 3, "output_type": "pt"} | changes
    generator = torch.Generator().manual_seed(seed)
    return pipe(trials.data, trials.ch_names, trials.sfreq, generator=generator, **settings).images


def test_images_have_the_asked_number_size_and_range(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    images = draw(pipe, trials, num_images_per_prompt=2)
    assert images.shape == (6, 3, SIZE, SIZE)
    assert float(images.min()) >= 0 and float(images.max()) <= 1
    pictures = draw(pipe, trials, output_type="pil")
    assert len(pictures) == 3 and pictures[0].size == (SIZE, SIZE)
    assert draw(pipe, trials, output_type="np").shape == (3, SIZE, SIZE, 3)


def test_same_seed_same_images_and_images_of_a_trial_lie_together(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    first = draw(pipe, trials, num_images_per_prompt=2)
    assert torch.equal(first, draw(pipe, trials, num_images_per_prompt=2))
    assert not torch.equal(first, draw(pipe, trials, seed=1, num_images_per_prompt=2))
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    config = pipe.scheduler.config  # without noise in the steps, which is that of all images
    pipe.scheduler = type(pipe.scheduler).from_config(config, algorithm_type="dpmsolver++")
    alone = draw(pipe, trials.select(np.array([1])), num_images_per_prompt=2, latents=noise)
    every = draw(pipe, trials, num_images_per_prompt=2, latents=noise.repeat(3, 1, 1, 1))
    torch.testing.assert_close(every[2:4], alone, atol=1e-4, rtol=1e-3)


def test_guidance_of_one_is_the_conditional_prediction(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    """One step by hand: eps(x, c) alone at guidance 1; eps(0) + w (eps(c) - eps(0)) above."""
    one = trials.select(np.array([0]))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        tokens = pipe.encode(one.data, one.ch_names, one.sfreq)
        condition = pipe.conditioner(tokens)
        pipe.scheduler.set_timesteps(1)
        timestep = pipe.scheduler.timesteps[0]

        def predict(scale: float) -> torch.Tensor:
            return pipe.unet(
                noise,
                timestep,
                encoder_hidden_states=condition.encoder_hidden_states * scale,
                class_labels=condition.time_condition * scale,
            ).sample

        for guidance in (1.0, 4.0):
            eps = predict(1.0)
            if guidance > 1:
                eps = predict(0.0) + guidance * (eps - predict(0.0))
            pipe.scheduler.set_timesteps(1)
            expected = pipe.scheduler.step(eps, timestep, noise).prev_sample
            got = draw(
                pipe, one, latents=noise, num_inference_steps=1,
                guidance_scale=guidance, output_type="latent",
            )  # fmt: skip
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_epochs_and_array_give_the_same_images(pipe: EEGToImagePipeline, trials: Trials) -> None:
    # Other order and one channel more, as a real cap would have.
    names = ["Fp1", *trials.ch_names[::-1]]
    data = np.concatenate([np.zeros_like(trials.data[:, :1]), trials.data[:, ::-1]], axis=1)
    info = mne.create_info(names, trials.sfreq, "eeg")
    epochs = mne.EpochsArray(data, info, tmin=0.0, verbose="error")
    torch.testing.assert_close(
        pipe.embed(epochs), pipe.embed(trials.data, trials.ch_names, trials.sfreq)
    )
    norm = pipe.embed(epochs).norm(dim=1)
    torch.testing.assert_close(norm, torch.ones(3))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d, n, s: (d, ["X1", *n[1:]], s), "lacks the channels C1"),
        (lambda d, n, s: (d, n, 250.0), "250 Hz, the model expects 100"),
        (lambda d, n, s: (d[..., :-1], n, s), "15 time points"),
        (lambda d, n, s: (d * 1e6, n, s), "microvolts"),
        (lambda d, n, s: (d * np.nan, n, s), "not finite"),
        (lambda d, n, s: (d, n[:-1], s), "2 ch_names"),
        (lambda d, n, s: (d, None, None), "needs ch_names and sfreq"),
    ],
)
def test_eeg_that_does_not_fit_is_refused(
    pipe: EEGToImagePipeline, trials: Trials, harm, message: str
) -> None:
    data, names, sfreq = harm(np.array(trials.data), trials.ch_names, trials.sfreq)
    with pytest.raises(ValueError, match=message):
        pipe(data, names, sfreq, num_inference_steps=1)


def test_both_formats_draw_the_same(
    pipe: EEGToImagePipeline, trials: Trials, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "whole")
    again = EEGToImagePipeline.from_pretrained(tmp_path / "whole")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(draw(pipe, trials), draw(again, trials))


def test_a_folder_saved_before_the_package_had_folders_draws_the_same(
    pipe: EEGToImagePipeline, trials: Trials, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "whole")
    index = tmp_path / "whole" / "model_index.json"
    content = json.loads(index.read_text("utf-8"))
    assert content["eeg_encoder"] == ["dreamdiffusion", "EEGEncoder"]
    content |= {
        "eeg_encoder": ["dreamdiffusion.encoder", "EEGEncoder"],
        "conditioner": ["dreamdiffusion.condition", "EEGConditioner"],
        "eeg_processor": ["dreamdiffusion.processor", "EEGProcessor"],
    }
    index.write_text(json.dumps(content), "utf-8")
    again = EEGToImagePipeline.from_pretrained(tmp_path / "whole")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(draw(pipe, trials), draw(again, trials))


def test_adapter_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    model = tmp_path / "copy" / "finetune" / "model"
    assert clip_source(model) == (tmp_path / "copy" / "generator" / "clip").resolve()
    weights = load_file(model / CROSS_ATTENTION)
    weights.pop(sorted(weights)[0])
    save_file(weights, model / CROSS_ATTENTION)
    with pytest.raises(ValueError, match="does not fit the generator"):
        EEGToImagePipeline.from_pretrained(model)
    shutil.rmtree(tmp_path / "copy" / "generator")
    with pytest.raises(FileNotFoundError, match="train-generator"):
        EEGToImagePipeline.from_pretrained(model)
    with pytest.raises(FileNotFoundError, match=r"holds no model .*give --model"):
        EEGToImagePipeline.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        EEGToImagePipeline.from_pretrained(tmp_path / "gone")


def test_generator_opens_as_stable_diffusion(tmp_path: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(write_generator(tmp_path / "g"))
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        "a red square", num_inference_steps=2, generator=torch.Generator().manual_seed(0),
        height=SIZE, width=SIZE, output_type="np",
    ).images  # fmt: skip
    assert images.shape == (1, SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["plms", "ddim", "dpm++", "unipc", "lcm"])
def test_every_scheduler_keeps_the_noise_schedule(
    pipe: EEGToImagePipeline, trials: Trials, name: str
) -> None:
    own = pipe.scheduler
    if name == "plms":
        with pytest.raises(ValueError, match="PNDMScheduler has another noise schedule"):
            change_scheduler(own, name)
        own = type(own).from_config(own.config, rescale_betas_zero_snr=False)  # as Stable Diffusion
        pipe = EEGToImagePipeline(**(pipe.components | {"scheduler": own}))
        pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = change_scheduler(own, name)
    torch.testing.assert_close(
        pipe.scheduler.alphas_cumprod, own.alphas_cumprod, atol=1e-6, rtol=1e-5
    )
    assert pipe.scheduler.config["prediction_type"] == own.config["prediction_type"]
    images = draw(pipe, trials, num_inference_steps=5)
    assert torch.isfinite(images).all()
    assert torch.equal(images, draw(pipe, trials, num_inference_steps=5))
    assert change_scheduler(own, "own") is own


def test_strengths_are_shares_of_the_guidance(pipe: EEGToImagePipeline, trials: Trials) -> None:
    """One denoising step against the formula, with each prediction made by itself."""
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    settings = {"latents": latents, "num_inference_steps": 1, "output_type": "latent"}
    got = draw(
        pipe, trials, prompt="a red square", guidance_scale=3.0, eeg_strength=0.5,
        text_strength=0.25, **settings,
    )  # fmt: skip
    with torch.no_grad():
        eeg = pipe.conditioner(pipe.encode(trials.data, trials.ch_names, trials.sfreq))
        pipe.scheduler.set_timesteps(1)
        timestep = pipe.scheduler.timesteps[0]

        def predict(states: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            return pipe.unet(latents, timestep, states, class_labels=times).sample

        def text(words: str) -> torch.Tensor:
            ids = pipe.tokenizer([words] * 3, padding="max_length", max_length=8).input_ids
            states = pipe.text_encoder(input_ids=torch.tensor(ids)).last_hidden_state
            return predict(states, torch.zeros_like(eeg.time_condition))

        zero = predict(*(torch.zeros_like(part) for part in eeg))
        noise = zero + 1.5 * (predict(*eeg) - zero) + 0.75 * (text("a red square") - text(""))
        expected = pipe.scheduler.step(noise, timestep, latents).prev_sample
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    off = draw(pipe, trials, prompt="a red square", text_strength=0.0, **settings)
    torch.testing.assert_close(off, draw(pipe, trials, **settings), atol=1e-4, rtol=1e-4)
    deaf = draw(pipe, trials, eeg_strength=0.0, **settings)
    pipe.scheduler.set_timesteps(1)
    torch.testing.assert_close(
        deaf, pipe.scheduler.step(zero, timestep, latents).prev_sample, atol=1e-4, rtol=1e-4
    )


def test_a_picture_as_the_start(pipe: EEGToImagePipeline, trials: Trials) -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    settings = {"num_inference_steps": 10, "image": picture}
    kept = draw(pipe, trials, strength=0.0, **settings)
    expected = decode_latents(pipe.vae, encode_images(pipe.vae, picture))
    torch.testing.assert_close(kept, expected.expand(3, -1, -1, -1), atol=1e-5, rtol=1e-4)
    calls = []
    hook = pipe.unet.register_forward_hook(lambda *_: calls.append(1))
    little = draw(pipe, trials, strength=0.2, **settings)
    assert len(calls) == 2
    draw(pipe, trials, strength=1.0, **settings)
    assert len(calls) == 12
    hook.remove()
    assert not torch.equal(little, kept)
    as_pil = Image.fromarray((picture[0].permute(1, 2, 0) * 255).byte().numpy())
    assert draw(pipe, trials, **(settings | {"image": as_pil})).shape == (3, 3, 16, 16)


def test_texts_and_pictures_that_do_not_fit_are_refused(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    with pytest.raises(ValueError, match="eeg_strength is 2"):
        draw(pipe, trials, eeg_strength=2)
    with pytest.raises(ValueError, match="2 prompts for 3 trials"):
        draw(pipe, trials, prompt=["a", "b"])
    with pytest.raises(ValueError, match=r"shape \(1, 3, 8, 8\)"):
        draw(pipe, trials, image=torch.zeros(1, 3, 8, 8))
    pipe.text_encoder = None
    with pytest.raises(ValueError, match="no text encoder"):
        draw(pipe, trials, prompt="a")
