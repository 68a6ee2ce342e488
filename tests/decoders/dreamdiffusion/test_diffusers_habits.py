"""What a user of diffusers tries on a pipeline works, or one error says why not and what to do."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from tiny import SIZE, finetune_config

from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.models.generator.folder import DRAWING
from dreamdiffusion.models.generator.generator import SCHEDULERS, change_scheduler
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetune(finetune_config(tmp_path_factory.mktemp("habits"), steps=2)).parent.parent


@pytest.fixture
def pipe(folder: Path) -> EEGToImagePipeline:
    pipe = EEGToImagePipeline.from_pretrained(folder / "finetune" / "model")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def trials(folder: Path) -> Trials:
    return Trials.load(folder / "trials").select(np.arange(2))


def draw(pipe: EEGToImagePipeline, trials: Trials, **changes: Any) -> Any:
    settings = {
        "num_inference_steps": 3,
        "output_type": "pt",
        "generator": torch.Generator().manual_seed(0),
    }
    return pipe(trials.data, trials.ch_names, trials.sfreq, **(settings | changes)).images


def test_to_another_type_keeps_the_scale_of_the_eeg(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    before = pipe.embed(trials.data, trials.ch_names, trials.sfreq)
    matrix = pipe.eeg_processor.matrix.clone()
    assert pipe.to("cpu", torch.bfloat16) is pipe
    assert pipe.unet.dtype == pipe.eeg_encoder.dtype == torch.bfloat16
    assert torch.equal(pipe.eeg_processor.matrix, matrix)
    after = pipe.embed(trials.data, trials.ch_names, trials.sfreq)
    assert float((before * after).sum(dim=1).min()) > 0.99
    images = draw(pipe, trials)
    assert images.dtype == torch.float32 and torch.isfinite(images).all()


# diffusers refuses to make these of a config whose algorithm is that of DPM-Solver++.
OWN_ALGORITHM = {"DEISMultistepScheduler": "deis", "SASolverScheduler": "data_prediction"}
DRAW = {
    "DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler",
    "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler", "DEISMultistepScheduler",
    "SASolverScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
    "LCMScheduler", "TCDScheduler",
}  # fmt: skip
KINDS = {
    name: kind
    for name in dir(diffusers)
    if name.endswith("Scheduler")
    and isinstance(kind := getattr(diffusers, name), type)
    and issubclass(kind, diffusers.SchedulerMixin)
}


def like(scheduler: Any, name: str) -> Any:
    """Return a scheduler of another class for the same noise schedule."""
    own = {"algorithm_type": OWN_ALGORITHM[name]} if name in OWN_ALGORITHM else {}
    return KINDS[name].from_config(scheduler.config, **own)  # pyright: ignore[reportAttributeAccessIssue]


def as_stable_diffusion(scheduler: Any) -> Any:
    """Return it with the noise schedule of Stable Diffusion 1.5, which every scheduler knows."""
    changes = {"rescale_betas_zero_snr": False, "algorithm_type": "dpmsolver++"}
    return type(scheduler).from_config(scheduler.config, **changes)


@pytest.fixture(scope="module")
def opened(folder: Path) -> EEGToImagePipeline:
    """Opened once; a scheduler is put in a pipeline of its parts."""
    return EEGToImagePipeline.from_pretrained(folder / "finetune" / "model")


def of_parts(opened: EEGToImagePipeline, own: Any) -> EEGToImagePipeline:
    pipe = EEGToImagePipeline(**(opened.components | {"scheduler": own}))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("name", sorted(DRAW))
def test_any_diffusion_scheduler_can_be_put_in(
    opened: EEGToImagePipeline, trials: Trials, name: str
) -> None:
    own = opened.scheduler
    if "rescale_betas_zero_snr" not in inspect.signature(KINDS[name]).parameters:
        pipe = of_parts(opened, own)
        pipe.scheduler = like(own, name)
        with pytest.raises(ValueError, match=f"{name} has another noise schedule"):
            draw(pipe, trials, num_inference_steps=4)
        own = as_stable_diffusion(own)
    pipe = of_parts(opened, own)
    pipe.scheduler = like(own, name)
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    for start in (None, picture):
        images = draw(pipe, trials, image=start, num_inference_steps=4)
        assert images.shape == (2, 3, SIZE, SIZE) and torch.isfinite(images).all()
        assert torch.equal(images, draw(pipe, trials, image=start, num_inference_steps=4))


@pytest.mark.parametrize("name", sorted(KINDS.keys() - DRAW))
def test_every_other_scheduler_of_diffusers_is_refused(
    opened: EEGToImagePipeline, trials: Trials, name: str
) -> None:
    own = as_stable_diffusion(opened.scheduler)
    try:
        other = KINDS[name].from_config(own.config)
    except (TypeError, ValueError):
        return  # refused before: diffusers itself makes none of a Stable Diffusion's config
    pipe = of_parts(opened, own)
    pipe.scheduler = other
    with pytest.raises(ValueError, match=f"^the scheduler {name} (does not draw|has )"):
        draw(pipe, trials)


@pytest.mark.parametrize("name", sorted(DRAW))
def test_a_generator_of_any_scheduler_can_draw_with_the_named_ones(name: str) -> None:
    own = like(as_stable_diffusion(DPMSolverMultistepScheduler(**DRAWING)), name)
    for wanted, (kind, _) in SCHEDULERS.items():
        assert isinstance(change_scheduler(own, wanted), kind)


def test_the_name_says_the_algorithm_whatever_the_generator_s_is() -> None:
    own = DPMSolverMultistepScheduler(**DRAWING)
    assert own.config["algorithm_type"] == "sde-dpmsolver++"
    assert change_scheduler(own, "dpm++").config["algorithm_type"] == "dpmsolver++"


def test_a_scheduler_for_something_else_is_refused(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    own = pipe.scheduler
    other = {"epsilon": "v_prediction", "v_prediction": "epsilon"}[own.config["prediction_type"]]
    pipe.scheduler = diffusers.DDIMScheduler(prediction_type=other)
    with pytest.raises(ValueError, match=r"DDIMScheduler\.from_config\(pipe\.scheduler\.config\)"):
        draw(pipe, trials)
    pipe.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler has prediction_type"):
        draw(pipe, trials)


def test_the_callback_sees_every_step_and_can_change_the_latents(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    seen: list[tuple[int, int, set[str]]] = []

    def look(given: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict:
        assert given is pipe and tensors["latents"].shape == (2, 4, 8, 8)
        seen.append((step, int(timestep), set(tensors)))
        return {}

    wanted = ["latents", "noise_pred"]
    settings = {"callback_on_step_end_tensor_inputs": wanted, "callback_on_step_end": look}
    images = draw(pipe, trials, **settings)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert [time for _, time, _ in seen] == pipe.scheduler.timesteps.tolist()
    assert all(names == set(wanted) for _, _, names in seen)
    assert torch.equal(images, draw(pipe, trials))

    def blank(given: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict:
        return {"latents": torch.zeros_like(tensors["latents"])}

    got = draw(pipe, trials, callback_on_step_end=blank, output_type="latent")
    assert not got.any()


def test_a_callback_can_stop_the_drawing(pipe: EEGToImagePipeline, trials: Trials) -> None:
    calls: list[int] = []

    def stop(given: Any, step: int, timestep: torch.Tensor, tensors: dict[str, Any]) -> dict:
        calls.append(step)
        given._interrupt = step == 1
        return tensors

    draw(pipe, trials, callback_on_step_end=stop, num_inference_steps=6)
    assert calls == [0, 1]
    draw(pipe, trials, num_inference_steps=2, callback_on_step_end=lambda *_: calls.append(9))
    assert calls == [0, 1, 9, 9]  # the next drawing goes on to its end


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"callback_on_step_end": 3}, "callback_on_step_end is 3, expected a function"),
        (
            {"callback_on_step_end_tensor_inputs": ["prompt_embeds"]},
            "names prompt_embeds; this pipeline offers latents, noise_pred",
        ),
        ({"output_type": "numpy"}, "output_type is 'numpy', expected pil, np, pt or latent"),
        ({"generator": [torch.Generator()] * 3}, "3 generators, expected one, or a list of one"),
    ],
)
def test_wrong_arguments_are_named(
    pipe: EEGToImagePipeline, trials: Trials, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw(pipe, trials, **wrong)


def test_a_list_of_generators_makes_each_image_by_itself(
    pipe: EEGToImagePipeline, trials: Trials
) -> None:
    def seeds(*numbers: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(number) for number in numbers]

    both = draw(pipe, trials, num_images_per_prompt=2, generator=seeds(1, 2, 3, 4))
    alone = draw(pipe, trials.select(np.array([1])), num_images_per_prompt=2, generator=seeds(3, 4))
    torch.testing.assert_close(both[2:], alone, atol=1e-4, rtol=1e-3)


def test_slicing_and_tiling_of_the_vae(pipe: EEGToImagePipeline, trials: Trials) -> None:
    plain = draw(pipe, trials)
    pipe.enable_vae_slicing()
    assert pipe.vae.use_slicing
    torch.testing.assert_close(draw(pipe, trials), plain, atol=1e-5, rtol=1e-4)
    pipe.disable_vae_slicing()
    pipe.enable_vae_tiling()
    assert pipe.vae.use_tiling
    assert draw(pipe, trials).shape == plain.shape
    pipe.disable_vae_tiling()
    assert not pipe.vae.use_tiling and not pipe.vae.use_slicing


def test_models_on_the_cpu_until_they_are_needed(pipe: EEGToImagePipeline, trials: Trials) -> None:
    """The hooks run here from CPU to CPU; a GPU is not needed to see that every call has one."""
    images = draw(pipe, trials, prompt="a red square")
    embedded = pipe.embed(trials.data, trials.ch_names, trials.sfreq)
    moved: list[str] = []
    pipe.enable_model_cpu_offload(device="cpu")
    for name, module in pipe.components.items():
        if isinstance(module, torch.nn.Module) and name != "eeg_processor":
            hook = module._hf_hook
            before = hook.pre_forward

            def note(
                part: Any, *args: Any, name: str = name, before: Any = before, **kwargs: Any
            ) -> Any:
                moved.append(name)
                return before(part, *args, **kwargs)

            hook.pre_forward = note
    torch.testing.assert_close(
        pipe.embed(trials.data, trials.ch_names, trials.sfreq), embedded, atol=1e-6, rtol=1e-5
    )
    assert moved == ["eeg_encoder", "conditioner"]
    torch.testing.assert_close(
        draw(pipe, trials, prompt="a red square"), images, atol=1e-5, rtol=1e-4
    )
    assert set(moved) == {"eeg_encoder", "conditioner", "text_encoder", "unet", "vae"}
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="requires accelerator"):
            pipe.enable_model_cpu_offload()


def lora_of(pipe: EEGToImagePipeline, folder: Path, text: bool = False) -> Path:
    """Write a LoRA in the layout of diffusers, with updates that are not zero."""
    from peft import LoraConfig, get_peft_model_state_dict

    generator = torch.Generator().manual_seed(7)
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, targets in (("unet", ["to_k", "to_v"]), ("text_encoder", ["q_proj"])):
        part = getattr(pipe, name)
        part.add_adapter(LoraConfig(r=2, target_modules=targets))
        layers[name] = {
            key: torch.randn(value.shape, generator=generator)
            for key, value in get_peft_model_state_dict(part).items()
        }
    given = {"unet_lora_layers": layers["unet"]}
    if text:
        given["text_encoder_lora_layers"] = layers["text_encoder"]
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, **given)
    return folder


def test_a_lora_of_the_generator_is_loaded_and_taken_off(
    pipe: EEGToImagePipeline, folder: Path, trials: Trials, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = lora_of(
        EEGToImagePipeline.from_pretrained(folder / "finetune" / "model"), tmp_path / "lora"
    )
    plain = draw(pipe, trials)
    pipe.load_lora_weights(lora)
    assert not torch.allclose(draw(pipe, trials), plain, atol=1e-3)
    pipe.unload_lora_weights()
    torch.testing.assert_close(draw(pipe, trials), plain, atol=1e-5, rtol=1e-4)


def test_a_lora_that_cannot_be_loaded_says_why(
    pipe: EEGToImagePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = lora_of(pipe, tmp_path / "lora", text=True)
    pipe.text_encoder = None
    with pytest.raises(ValueError, match="the LoRA changes the text encoder"):
        pipe.load_lora_weights(lora)
    torch.save({"unet.lora": torch.zeros(1)}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises((OSError, ValueError), match="safetensors"):
        pipe.load_lora_weights(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'dreamdiffusion\[lora\]'"):
        pipe.load_lora_weights(lora)


def test_what_is_pushed_to_the_hub_opens_and_draws_the_same(
    pipe: EEGToImagePipeline, trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers.utils import hub_utils

    class Card:
        def save(self, path: str) -> None:
            Path(path).write_text("card", "utf-8")

    monkeypatch.setattr(
        hub_utils, "create_repo", lambda name, **_: SimpleNamespace(repo_id=f"me/{name}")
    )
    monkeypatch.setattr(hub_utils, "load_or_create_model_card", lambda *_, **__: Card())
    monkeypatch.setattr(hub_utils, "populate_model_card", lambda card: card)

    def upload(repo_id: str, folder_path: str, **_: Any) -> str:
        assert repo_id == "me/mind"
        shutil.copytree(folder_path, tmp_path / "hub")
        return "done"

    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    assert pipe.push_to_hub("mind") == "done"
    again = EEGToImagePipeline.from_pretrained(tmp_path / "hub")
    again.set_progress_bar_config(disable=True)
    assert torch.equal(draw(again, trials), draw(pipe, trials))
    for path in (tmp_path / "hub").rglob("*"):
        assert path.suffix not in (".bin", ".pt", ".pkl", ".ckpt")
