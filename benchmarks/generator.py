"""How often the judge names what a caption asked the small generator to draw.

    python benchmarks/generator.py

writes ``docs/results/generator.json`` and a sheet of samples, ``generator.png`` (about 3 minutes on
2 cores). The judge is an independent classifier; its accuracy on true pictures stands beside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, random_scene, render
from dreamdiffusion.models.generator.generator import image_size, open_text_pipeline
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.training.device import autocast

SEED = 20231


def main() -> None:
    """Draw, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", type=Path, default=Path("weights/scenes-generator"))
    parser.add_argument("--judge", type=Path, default=Path("weights/judge"))
    parser.add_argument("--per_category", type=int, default=20)
    # 4 was chosen with --seed 777: 96.3 % of 480, where 3 gave 94.2 %.
    parser.add_argument("--guidance_scale", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED, help="another to choose settings on")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    pipeline, judge = open_text_pipeline(options.generator), Judge.from_pretrained(options.judge)
    size = image_size(pipeline.unet, pipeline.vae)
    rng = np.random.default_rng(options.seed)
    scenes = [
        random_scene(rng, category=c) for _ in range(options.per_category) for c in CATEGORIES
    ]
    source = torch.Generator().manual_seed(options.seed)
    parts = []
    for i in range(0, len(scenes), 24):
        with autocast(torch.device("cpu"), "auto"):
            parts.append(
                pipeline(
                    [scene.caption for scene in scenes[i : i + 24]],
                    num_inference_steps=options.steps,
                    guidance_scale=options.guidance_scale,
                    generator=source,
                    height=size,
                    width=size,
                    output_type="np",
                ).images
            )
    drawn = torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2).float()
    true = torch.stack(
        [torch.from_numpy(np.asarray(render(s, size)) / 255).permute(2, 0, 1) for s in scenes]
    ).float()
    result = {
        "n": len(scenes),
        "seed": options.seed,
        "guidance_scale": options.guidance_scale,
        "num_inference_steps": options.steps,
        "chance": {"category": 1 / len(judge.categories), "color": 1 / len(judge.colors)},
        "generated": accuracy(judge, drawn, scenes),
        "true_pictures": accuracy(judge, true, scenes),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (options.output / "generator.json").write_text(text + "\n", encoding="utf-8")
    sheet = Image.new("RGB", (12 * size, 8 * size), "white")
    for i, image in enumerate(drawn[:96]):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        sheet.paste(Image.fromarray(pixels), (i % 12 * size, i // 12 * size))
    sheet.resize((24 * size, 16 * size), Image.Resampling.LANCZOS).save(
        options.output / "generator.png", optimize=True
    )
    print(text)


def accuracy(judge: Judge, images: torch.Tensor, scenes: list) -> dict:
    """Share of pictures in which the judge names category and colour, with the weakest classes."""
    named = judge.predict(images)
    category = np.array([judge.categories[i] for i in named["category"].argmax(1)])
    color = np.array([judge.colors[i] for i in named["color"].argmax(1)])
    right = category == np.array([scene.category for scene in scenes])
    n, value = len(right), float(right.mean())
    half = 1.96 * np.sqrt(max(value * (1 - value), 1 / n) / n)
    truth = np.array([scene.category for scene in scenes])
    by_class = {c: float(right[truth == c].mean()) for c in CATEGORIES}
    return {
        "category": value,
        "category_ci95": [max(0.0, value - half), min(1.0, value + half)],
        "color": float((color == np.array([scene.color for scene in scenes])).mean()),
        "weakest": dict(sorted(by_class.items(), key=lambda item: item[1])[:4]),
    }


if __name__ == "__main__":
    main()
