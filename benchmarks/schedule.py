"""Our schedule of work against a plain one, at the paper's sizes, side by side.

    python benchmarks/schedule.py              # all, about 20 minutes and 20 GB on 2 cores
    python benchmarks/schedule.py --only msm   # one of msm, finetune, sampling

The plain schedule does the work as the authors' release does: fp32, attention as explicit products,
AdamW parameter by parameter, gradients of the whole U-Net, VAE and CLIP run in every step, 251
evaluations for an image. Weights are random: time and memory do not depend on them.
Each measurement is a process of its own, plain and ours in turn, and the faster of the two rounds
counts. Writes ``docs/results/schedule.json``; the ratio is the result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
from dreamdiffusion.decoders.dreamdiffusion.convert import SD15_UNET, SD15_VAE
from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
from dreamdiffusion.models.encoders import eeg as encoder_module
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.models.generator.generator import NOISE_SCHEDULE, decode_latents, encode_images
from dreamdiffusion.training.config import OptimConfig, TrainRuntimeConfig
from dreamdiffusion.training.device import autocast
from dreamdiffusion.training.memory import peak_bytes
from dreamdiffusion.training.optimizer import build_optimizer, trained_parameters
from dreamdiffusion.training.random_numbers import Draw

CPU = torch.device("cpu")
MSM_BATCH = 16
PAPER_EVALUATIONS, OUR_EVALUATIONS = 251, 20
CLIP_L14 = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "patch_size": 14, "projection_dim": 768,
}  # fmt: skip


def main() -> None:
    """Measure in turn, print and write the table; or, as a child, measure once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(MEASURED))
    parser.add_argument("--side", choices=["plain", "ours"], help="measure once and print JSON")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    if options.side:
        torch.manual_seed(0)
        print(json.dumps(MEASURED[options.only](options.side == "plain")))
        return
    result = {"threads": torch.get_num_threads(), "matrix_gflops": matrix_rates()}
    for name in [options.only] if options.only else MEASURED:
        rounds = [{side: child(name, side) for side in ("plain", "ours")} for _ in range(2)]
        best = {
            side: min((r[side] for r in rounds), key=lambda m: m["seconds"])
            for side in ("plain", "ours")
        }
        rate = best["ours"]["gflop"] / best["ours"]["seconds"]
        result[name] = best | {
            "times_faster": best["plain"]["seconds"] / best["ours"]["seconds"],
            "share_of_memory": best["ours"]["peak_gb"] / best["plain"]["peak_gb"],
            "share_of_matrix_rate": rate / result["matrix_gflops"]["bf16"],
        }
        print(name, json.dumps(result[name]), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (options.output / "schedule.json").write_text(text, encoding="utf-8")


def child(name: str, side: str) -> dict:
    """Run one measurement in a process of its own, so that its memory is its own."""
    command = [sys.executable, __file__, "--only", name, "--side", side]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ({side}) failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def matrix_rates() -> dict[str, float]:
    """Return the machine's rate of large matrix products, 10^9 operations a second."""
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
        seconds = min(timed(lambda a=a, b=b: a @ b) for _ in range(8))
        rates[name] = 2 * 2048**3 / seconds / 1e9
    return rates


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(work: Callable[[], object], times: float = 1.0, repeats: int = 2) -> dict:
    """Run once with counted operations, then for time; ``times`` scales both."""
    with FlopCounterMode(display=False) as counter:
        work()
    seconds = min(timed(work) for _ in range(repeats))
    return {
        "seconds": seconds * times,
        "gflop": counter.get_total_flops() / 1e9 * times,
        "peak_gb": peak_bytes(CPU) / 1e9,
    }


class ExplicitAttention(encoder_module.Attention):
    """Attention as products and a softmax that are kept."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, n_tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, n_tokens, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) / (dim // self.num_heads) ** 0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(batch, n_tokens, dim))


def plain_adamw(parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW that takes one parameter after the other."""
    return torch.optim.AdamW(parameters, lr=1e-9, foreach=False, fused=False)


def measure_msm(plain: bool) -> dict:
    """One step of masked signal modelling, batch 16."""
    if plain:
        encoder_module.Attention = ExplicitAttention
    model = MaskedAutoencoder().train()  # the defaults are the paper's sizes
    eeg = torch.randn(MSM_BATCH, 128, 512)
    parameters = trained_parameters({"mae": model})
    optimizer = (
        plain_adamw(list(parameters.values()))
        if plain
        else build_optimizer(parameters, OptimConfig(lr=1e-9), {})
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(CPU, "fp32" if plain else "auto"):
            loss = model(eeg, 0.75, Draw(0, 0, MSM_BATCH)).loss
        loss.backward()
        nn.utils.clip_grad_norm_(parameters.values(), 0.8)
        optimizer.step()

    return measure(step)


def full_size(plain: bool) -> tuple[EEGEncoder, EEGConditioner, UNet2DConditionModel]:
    """The paper's encoder and projectors, and Stable Diffusion 1.5's U-Net."""
    if plain:
        encoder_module.Attention = ExplicitAttention
    unet = UNet2DConditionModel(**SD15_UNET)
    add_time_condition(unet)
    if plain:
        unet.set_attn_processor(AttnProcessor())
    return EEGEncoder(), EEGConditioner(), unet


def measure_finetune(plain: bool) -> dict:
    """One step of fine-tuning at 512 pixels, batch 1."""
    encoder, conditioner, unet = full_size(plain)
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    eeg = torch.randn(1, 128, 512)
    pairs = Pairs(
        torch.randn(1, 4, 64, 64), nn.functional.normalize(torch.randn(1, 768)),
        torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long),
    )  # fmt: skip
    rows = torch.zeros(1, dtype=torch.long).numpy()
    precision = "fp32" if plain else "auto"
    task = FinetuneTask(
        FinetuneConfig(batch_size=1, runtime=TrainRuntimeConfig(precision=precision)), eeg, pairs,
        rows, rows, encoder, conditioner, unet, scheduler, 512,
    )  # fmt: skip
    trained = trained_parameters(task.modules)
    if not plain:
        optimizer = build_optimizer(trained, OptimConfig(lr=1e-9), {})
    else:
        optimizer = plain_adamw(list(trained.values()))
        unet.requires_grad_(True)  # gradients of everything, though few are used
        vae = AutoencoderKL(**SD15_VAE).requires_grad_(False)
        vae.set_attn_processor(AttnProcessor())
        config = CLIPVisionConfig(**CLIP_L14, attn_implementation="eager")
        clip = CLIPVisionModelWithProjection(config).requires_grad_(False)
        image, small = torch.rand(1, 3, 512, 512), torch.randn(1, 3, 224, 224)

    def step() -> None:
        for module in task.modules.values():
            module.train()
        optimizer.zero_grad(set_to_none=True)
        if plain:
            unet.zero_grad(set_to_none=True)
            with torch.no_grad():
                pairs.latents[:] = encode_images(vae, image)
                pairs.embeddings[:] = clip(pixel_values=small).image_embeds
        with autocast(CPU, precision, task.n_places):
            loss = task.loss(torch.zeros(1, dtype=torch.long), Draw(0, 0, 1))["loss"]
        loss.backward()
        nn.utils.clip_grad_norm_(trained.values(), 0.5)
        optimizer.step()

    return measure(step, repeats=1)


@torch.no_grad()
def measure_sampling(plain: bool) -> dict:
    """One image of 512 pixels: evaluations of the U-Net without guidance, and the VAE."""
    encoder, conditioner, unet = full_size(plain)
    vae = AutoencoderKL(**SD15_VAE)
    if plain:
        vae.set_attn_processor(AttnProcessor())
    latents, eeg = torch.randn(1, 4, 64, 64), torch.randn(1, 128, 512)
    for module in (encoder, conditioner, unet, vae):
        module.eval()
    precision = "fp32" if plain else "auto"
    with autocast(CPU, precision, latents.shape[-1] ** 2):
        condition = conditioner(encoder(eeg))

        def evaluate() -> None:
            unet(
                latents, 500, condition.encoder_hidden_states,
                class_labels=condition.time_condition,
            )  # fmt: skip

        n = PAPER_EVALUATIONS if plain else OUR_EVALUATIONS
        steps = measure(evaluate, times=n)  # every evaluation takes the same: two are timed
        decoding = measure(lambda: decode_latents(vae, latents), repeats=1)
    return {
        "seconds": steps["seconds"] + decoding["seconds"],
        "gflop": steps["gflop"] + decoding["gflop"],
        "peak_gb": decoding["peak_gb"],
        "evaluations": n,
        "seconds_an_evaluation": steps["seconds"] / n,
    }


MEASURED: dict[str, Callable[[bool], dict]] = {
    "msm": measure_msm,
    "finetune": measure_finetune,
    "sampling": measure_sampling,
}

if __name__ == "__main__":
    main()
