"""What a GPU does with our schedule of work, in six minutes, kept as it comes.

    python benchmarks/gpu.py --output runs/gpu            # on a GPU
    python benchmarks/gpu.py --output runs/gpu --tiny     # the same code on a CPU, tiny sizes

Every part is a process of its own with a limit in seconds; what it measured is written to
``gpu.json`` at once, and a part that overruns is cut and says so. Weights are random: time and
memory do not depend on them. ``python benchmarks/gpu.py --page runs/gpu/gpu.json`` puts the
figures into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from timed_parts import Part, Row, run_parts

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
GB = 1e9

# Part -> its limit in seconds; together six minutes.
LIMITS = {"matrix": 15, "msm": 70, "finetune": 100, "memory": 65, "sampling": 65, "reader": 45}


# --- measured in a process of their own -----------------------------------------------------------


def measured(work: Callable[[], object], seconds: float, at_most: int = 20) -> float:
    """Return the median seconds of a piece of work, after one that is not counted."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    times = [once()]
    while sum(times) < seconds and len(times) < at_most:
        times.append(once())
    return statistics.median(times)


def peak_gb() -> float | None:
    """Return the most memory that PyTorch held on the GPU since the last call, in GB."""
    import torch

    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / GB
    torch.cuda.reset_peak_memory_stats()
    return round(peak, 2)


def device() -> Any:
    """Return the GPU, or the CPU where there is none."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matrix(tiny: bool) -> Iterator[Row]:
    """The rate of large bf16 matrix products, which the others are compared with."""
    import torch

    size = 256 if tiny else 8192
    a, b = (torch.randn(size, size, device=device(), dtype=torch.bfloat16) for _ in range(2))
    seconds = measured(lambda: a @ b, 0.1 if tiny else 3)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    yield {
        "what": "bf16 matrix product", "size": size, "tflops": 2 * size**3 / seconds / 1e12,
        "device": name, "torch": torch.__version__,
    }  # fmt: skip


def msm(tiny: bool) -> Iterator[Row]:
    """Masked signal modelling at the paper's size, batch 100: ours, compiled, and plain fp32."""
    import torch
    from schedule import ExplicitAttention, plain_adamw
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    from dreamdiffusion.models.encoders import eeg as encoder_module
    from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
    from dreamdiffusion.training.config import OptimConfig
    from dreamdiffusion.training.device import autocast
    from dreamdiffusion.training.optimizer import build_optimizer, trained_parameters
    from dreamdiffusion.training.random_numbers import Draw

    sizes: Row = {"n_chans": 128, "n_times": 512}
    if tiny:
        sizes = {"n_chans": 4, "n_times": 64, "embed_dim": 32, "depth": 2, "num_heads": 4,
                 "decoder_embed_dim": 16, "decoder_depth": 1, "decoder_num_heads": 2}  # fmt: skip
    batch = 4 if tiny else 100
    eeg = torch.randn(batch, sizes["n_chans"], sizes["n_times"], device=device())
    own = encoder_module.Attention
    for way in ("ours", "ours, compiled", "plain fp32"):
        encoder_module.Attention = ExplicitAttention if way == "plain fp32" else own
        model = MaskedAutoencoder(**sizes).train().to(device())
        parameters = trained_parameters({"mae": model})
        if way == "plain fp32":
            optimizer: Any = plain_adamw(list(parameters.values()))
        else:
            optimizer = build_optimizer(parameters, OptimConfig(lr=1e-9), {})
        if way == "ours, compiled":
            model.compile(backend="eager" if tiny else "inductor")

        def step(model: Any = model, optimizer: Any = optimizer, way: str = way) -> None:
            optimizer.zero_grad(set_to_none=True)
            with autocast(device(), "fp32" if way == "plain fp32" else "auto"):
                loss = model(eeg, 0.75, Draw(0, 0, batch)).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.8)
            optimizer.step()

        row: Row = {"what": "MSM step", "way": way, "batch": batch}
        if way == "ours":
            with FlopCounterMode(display=False) as counter:
                step()
            row["tflop"] = counter.get_total_flops() / 1e12
        seconds = measured(step, 0.1 if tiny else 6)
        encoder_module.Attention = own  # what comes after has ours
        yield row | {"seconds": seconds, "peak_gb": peak_gb()}
        del model, optimizer, parameters


def stable_diffusion(tiny: bool, plain: bool) -> tuple[Any, Any, Any, int]:
    """Return encoder, projectors and U-Net in the shapes of SD 1.5, and the size of latents."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from schedule import full_size

    from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition
    from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
    from dreamdiffusion.models.encoders.eeg import EEGEncoder

    if not tiny:
        return *full_size(plain), 64
    encoder = EEGEncoder(n_chans=128, n_times=512, embed_dim=32, depth=1, num_heads=2)
    conditioner = EEGConditioner(
        n_tokens=128, embed_dim=32, n_condition_tokens=4, cross_attention_dim=32,
        time_embed_dim=128, clip_dim=768,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=4,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), norm_num_groups=16,
    )  # fmt: skip
    add_time_condition(unet)
    return encoder, conditioner, unet, 8


def finetune_step(tiny: bool, plain: bool, batch: int, micro: int, **settings: Any) -> Any:
    """Return a step of fine-tuning on ``batch`` trials, computed ``micro`` at a time."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from schedule import CLIP_L14, SD15_VAE, plain_adamw
    from torch import nn
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from dreamdiffusion.decoders.config import FinetuneConfig
    from dreamdiffusion.decoders.dreamdiffusion.build import add_lora
    from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
    from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
    from dreamdiffusion.models.generator.generator import NOISE_SCHEDULE, encode_images
    from dreamdiffusion.training.config import OptimConfig, TrainRuntimeConfig
    from dreamdiffusion.training.device import attention_kernel, autocast
    from dreamdiffusion.training.optimizer import build_optimizer, trained_parameters
    from dreamdiffusion.training.random_numbers import Draw

    encoder, conditioner, unet, size = stable_diffusion(tiny, plain)
    rank, low = settings.get("lora_rank", 0), settings.get("memory", "normal") == "low"
    if rank:
        add_lora(unet, rank, seed=0)
    pairs = Pairs(
        torch.randn(batch, 4, size, size), nn.functional.normalize(torch.randn(batch, 768)),
        torch.arange(batch), torch.ones(batch, dtype=torch.long),
    )  # fmt: skip
    rows = torch.arange(batch).numpy()
    precision = "fp32" if plain else "auto"
    config = FinetuneConfig(
        batch_size=batch, lora_rank=rank, runtime=TrainRuntimeConfig(precision=precision)
    )
    scheduler = DDPMScheduler(**NOISE_SCHEDULE)
    eeg = torch.randn(batch, 128, 512)
    task = FinetuneTask(
        config, eeg, pairs, rows, rows, encoder, conditioner, unet, scheduler, size * 8
    )
    for module in (encoder, conditioner, unet):
        module.to(device())
    if low:
        unet.enable_gradient_checkpointing()
        encoder.enable_gradient_checkpointing()
    trained = trained_parameters(task.modules)
    work: list[Callable[[], object]] = []
    if plain:
        optimizer: Any = plain_adamw(list(trained.values()))
        unet.requires_grad_(True)  # gradients of everything, though few are used
        if not tiny:
            vae = AutoencoderKL(**SD15_VAE).requires_grad_(False).to(device())
            clip_config = CLIPVisionConfig(**CLIP_L14, attn_implementation="eager")
            clip = CLIPVisionModelWithProjection(clip_config).requires_grad_(False).to(device())
            image = torch.rand(micro, 3, 512, 512, device=device())
            small = torch.randn(micro, 3, 224, 224, device=device())
            work += [lambda: encode_images(vae, image), lambda: clip(pixel_values=small)]
    else:
        kind = settings.get("optimizer", "adamw")
        optimizer = build_optimizer(trained, OptimConfig(lr=1e-9, kind=kind), {})

    def step() -> None:
        for module in task.modules.values():
            module.train()
        optimizer.zero_grad(set_to_none=True)
        if plain:
            unet.zero_grad(set_to_none=True)
        for first in range(0, batch, micro):
            part = slice(first, first + micro)
            with torch.no_grad():
                for one in work:
                    one()
            with autocast(device(), precision, task.n_places):
                loss = task.loss(torch.arange(batch)[part], Draw(0, 0, batch, part))["loss"]
            with attention_kernel(device(), precision, task.n_places):
                loss.backward()
        nn.utils.clip_grad_norm_(trained.values(), 0.5)
        optimizer.step()

    return step


def finetune(tiny: bool) -> Iterator[Row]:
    """A step of fine-tuning, batch 25 at 512 pixels, latents kept, against the plain schedule."""
    import torch

    batch = 5 if tiny else 25
    for plain, micros in ((False, (batch,)), (True, (5, 1))):
        for micro in micros:
            row: Row = {"what": "fine-tuning step", "way": "plain fp32" if plain else "ours",
                        "batch": batch, "micro_batch": micro}  # fmt: skip
            try:
                step = finetune_step(tiny, plain, batch, micro)
                yield row | {"seconds": measured(step, 0.1 if tiny else 8, 5), "peak_gb": peak_gb()}
                break
            except torch.OutOfMemoryError:
                yield row | {"failed": "out of memory"}
                torch.cuda.empty_cache()


def memory(tiny: bool) -> Iterator[Row]:
    """The configurations for small cards, each under its hard limit of memory."""
    import importlib.util

    import torch

    eight_bits = importlib.util.find_spec("bitsandbytes") is not None
    modes = {
        24: {"micro": 5, "memory": "low"},
        8: {"micro": 1, "memory": "low", "lora_rank": 16,
            "optimizer": "adamw8bit" if eight_bits and not tiny else "adamw"},
    }  # fmt: skip
    for limit, settings in modes.items():
        if torch.cuda.is_available():
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(limit * GB / total)
        row: Row = {"what": f"fine-tuning under {limit} GB", "limit_gb": limit, **settings}
        try:
            step = finetune_step(tiny, False, 5 if tiny else 25, **settings)
            yield row | {"seconds": measured(step, 0.1 if tiny else 5, 3), "peak_gb": peak_gb()}
        except torch.OutOfMemoryError:
            yield row | {"failed": "out of memory"}


def sampling(tiny: bool) -> Iterator[Row]:
    """Images a second at 512 pixels, without guidance: 20, 4 and 1 evaluations, and the VAE."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from schedule import SD15_VAE

    from dreamdiffusion.models.generator.generator import decode_latents
    from dreamdiffusion.training.device import autocast

    encoder, conditioner, unet, size = stable_diffusion(tiny, plain=False)
    small = {"block_out_channels": (32,), "norm_num_groups": 16, "latent_channels": 4}
    vae = AutoencoderKL(**(small if tiny else SD15_VAE))
    for module in (encoder, conditioner, unet, vae):
        module.eval().requires_grad_(False).to(device())
    for batch in (1, 2) if tiny else (1, 16):
        latents = torch.randn(batch, 4, size, size, device=device())
        eeg = torch.randn(batch, 128, 512, device=device())
        for steps in (20, 4, 1):

            def draw(steps: int = steps, latents: Any = latents, eeg: Any = eeg) -> None:
                with torch.no_grad(), autocast(device(), "auto", size**2):
                    condition = conditioner(encoder(eeg))
                    noisy = latents
                    for _ in range(steps):
                        noisy = unet(
                            noisy, 500, condition.encoder_hidden_states,
                            class_labels=condition.time_condition,
                        ).sample  # fmt: skip
                    decode_latents(vae, noisy)

            seconds = measured(draw, 0.1 if tiny else 3)
            yield {
                "what": "images", "evaluations": steps, "batch": batch, "seconds": seconds,
                "seconds_an_image": seconds / batch, "peak_gb": peak_gb(),
            }  # fmt: skip


def reader(tiny: bool) -> Iterator[Row]:
    """The contrastive reader on the shapes of THINGS-EEG2: the time to 40 epochs."""
    import tempfile

    import numpy as np
    import torch
    from torch import nn

    from dreamdiffusion.decoders.config import ReaderConfig
    from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs
    from dreamdiffusion.decoders.reader.network import ReaderNetwork
    from dreamdiffusion.decoders.reader.task import ReadingTask
    from dreamdiffusion.training.config import TrainRuntimeConfig
    from dreamdiffusion.training.loop import train_task

    n, n_chans, n_times, clip_dim, n_concepts = (
        (40, 4, 50, 8, 4) if tiny else (16540, 63, 250, 1024, 1654)
    )
    batch, epochs = (10, 2) if tiny else (1000, 40)
    most = 5.0 if tiny else 25.0  # seconds; what is left of the epochs is told from the rate
    config = ReaderConfig(
        batch_size=batch, steps=-(-epochs * n // batch), checkpoint_every=10**6,
        validate_every=10**6, runtime=TrainRuntimeConfig(max_seconds=most),
    )  # fmt: skip
    concepts = [str(i) for i in range(n_concepts)]
    sizes = {"n_chans": n_chans, "n_times": n_times, **config.compact.model_dump()}
    network = ReaderNetwork("compact", sizes, {"category": concepts}, clip_dim)
    pairs = Pairs(
        torch.empty(n, 0), nn.functional.normalize(torch.randn(n, clip_dim)),
        torch.arange(n), torch.ones(n, dtype=torch.long),
    )  # fmt: skip
    labels = {"category": torch.arange(n) % n_concepts}
    eeg = torch.randn(n, n_chans, n_times)
    task = ReadingTask(config, network, eeg, labels, pairs, np.arange(n), np.arange(0))
    with tempfile.TemporaryDirectory() as folder:
        last = train_task(task, config, Path(folder), "reader")[-1]
    row: Row = {
        "what": f"reader, {epochs} epochs of {n} x {n_chans} x {n_times}", "batch": batch,
        "seconds": last["seconds"] * config.steps / last["step"], "peak_gb": peak_gb(),
    }  # fmt: skip
    if last["step"] < config.steps:
        row["from_steps"] = f"from the first {last['step']} of {config.steps} steps"
    yield row


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "matrix": matrix, "msm": msm, "finetune": finetune, "memory": memory, "sampling": sampling,
    "reader": reader,
}  # fmt: skip


# --- the process that starts them -----------------------------------------------------------------


def run(output: Path, tiny: bool, seconds: float, only: list[str]) -> Path:
    """Run the parts in turn and keep what they measure in ``output/gpu.json``."""
    path = output / "gpu.json"
    options = ["--tiny"] if tiny else []

    def command(name: str) -> list[str]:
        return [sys.executable, __file__, "--part", name, *options]

    parts: dict[str, Part] = {
        name: (LIMITS[name], lambda limit, name=name: command(name)) for name in only
    }
    run_parts(path, {"tiny": tiny}, parts, seconds)
    return path


# --- the page -------------------------------------------------------------------------------------

START, END = "<!-- gpu.json -->", "<!-- end of gpu.json -->"


def table(result: dict[str, Any]) -> str:
    """Return the figures of ``gpu.json`` as the lines between the marks of the page."""
    rows = [row for part in result["parts"].values() for row in part["rows"]]
    rate = next((row["tflops"] for row in rows if "tflops" in row), None)
    by_way = {(row["what"], row.get("way")): row for row in rows}
    lines = ["", "| what | way | batch | seconds | peak GB | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        note = row.get("failed", row.get("from_steps", ""))
        if "tflops" in row:
            note = f"{row['tflops']:.0f} Tflop/s on {row['device']}, torch {row['torch']}"
        elif rate and "tflop" in row:
            note = f"{100 * row['tflop'] / row['seconds'] / rate:.0f} % of the matrix rate"
        elif "evaluations" in row:
            note = f"{row['evaluations']} evaluations: {row['seconds_an_image']:.3f} s an image"
        elif row.get("way") == "plain fp32" and "seconds" in row:
            ours = by_way.get((row["what"], "ours"))
            if ours and "seconds" in ours:
                note = f"ours is {row['seconds'] / ours['seconds']:.2f} times faster"
        seconds = f"{row['seconds']:.3f}" if "seconds" in row else ""
        peak = row.get("peak_gb")
        lines.append(
            f"| {row['what']} | {row.get('way', row.get('optimizer', ''))} | "
            f"{row.get('batch', '')} | {seconds} | {'' if peak is None else peak} | {note} |"
        )
    cut = {name: part["not_whole"] for name, part in result["parts"].items() if "not_whole" in part}
    lines += ["", *(f"{name}: {why}." for name, why in cut.items()), ""]
    return "\n".join(lines)


def write_page(path: Path, page: Path = PAGE) -> None:
    """Put the figures between the marks of docs/performance.md."""
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["tiny"]:
        raise ValueError(f"{path} is of --tiny, a rehearsal: its figures say nothing")
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(START)
    page.write_text(f"{before}{START}{table(result)}{END}{rest.split(END)[1]}", encoding="utf-8")


def main() -> None:
    """Measure all parts, or one as a child, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--tiny", action="store_true", help="rehearse on a CPU")
    parser.add_argument("--seconds", type=float, default=360, help="for all parts together")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--part", choices=PARTS, help="measure this one here, rows on stdout")
    parser.add_argument("--page", type=Path, help="gpu.json to put into docs/performance.md")
    options = parser.parse_args()
    if options.page:
        write_page(options.page)
    elif options.part:
        for row in PARTS[options.part](options.tiny):
            print(json.dumps(row), flush=True)
    else:
        run(options.output, options.tiny, options.seconds, options.only)


if __name__ == "__main__":
    main()
