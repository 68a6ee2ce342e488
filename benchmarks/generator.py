"""Report card of the small generator: does it draw what it is asked for, and how crisp.

    python benchmarks/generator.py --label "captions and embeddings"

draws scenes that no network was trained on, from their captions, from the CLIP embedding of the
true picture, and from both, in 20, 10, 4 and 2 steps, and writes ``docs/results/generator.json``
and sheets of pictures, ``generator-*.png`` (``--no-sheets`` leaves them out). Rows of other labels
in that file stay: those of an earlier generator, measured on the same scenes. ``--table`` prints
the file as Markdown.

Neither the judge nor a score is part of any loss. The CLIP is that of the generator.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from reader_scores import edges
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, Scene, random_scene, render
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.models.generator.generator import decode_latents, encode_images
from dreamdiffusion.models.generator.sharpness import edges_kept, power_kept, psnr
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.training.config import RuntimeConfig
from dreamdiffusion.training.device import choose_device

SEED = 20231
N_PLACED = 2000
"""Other scenes, which teach which place an object has."""
STEPS = (20, 10, 4, 2)


def main() -> None:
    """Draw, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", type=Path, default=Path("weights/scenes-generator"))
    parser.add_argument("--label", default="bundled", help="name of this generator's rows")
    parser.add_argument("--judge", type=Path, default=Path("weights/judge"))
    parser.add_argument("--per_category", type=int, default=10)
    parser.add_argument("--guidance_scale", type=float, default=2.5)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED, help="another to choose settings on")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    parser.add_argument("--sheets", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--table", action="store_true", help="print the file and draw nothing")
    options = parser.parse_args()
    path = options.output / "generator.json"
    if not options.table:
        earlier = json.loads(path.read_text("utf-8")).get("rows", []) if path.is_file() else []
        result = measure(options)
        result["rows"] += [row for row in earlier if row["label"] != options.label]
        options.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(json.loads(path.read_text("utf-8"))))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the card of one generator, and write its sheet of pictures."""
    device = choose_device(RuntimeConfig())
    generator = PromptedGenerator.from_pretrained(options.generator).to(device)
    judge = Judge.from_pretrained(options.judge)
    embed = load_embedder(options.generator / "clip", device)
    place_of = place_classifier(options.seed + 1, generator.image_size)
    rng = np.random.default_rng(options.seed)
    scenes = [
        random_scene(rng, category=c) for _ in range(options.per_category) for c in CATEGORIES
    ]
    true = true_pictures(scenes, generator.image_size)
    rebuilt = decode_latents(generator.vae, encode_images(generator.vae, true.to(device))).cpu()
    conditions: dict[str, dict[str, Any]] = {"caption": {"captions": [s.caption for s in scenes]}}
    if generator.projection is not None:
        conditions["embedding"] = {"embeddings": embed(true)}
        conditions["both"] = conditions["caption"] | conditions["embedding"]
    rows = [
        {"label": options.label, "condition": "true pictures"}
        | accuracy(judge, true, scenes)
        | placed(place_of, true, scenes),
        {"label": options.label, "condition": "VAE", "psnr": psnr(rebuilt, true)}
        | accuracy(judge, rebuilt, scenes)
        | placed(place_of, rebuilt, scenes)
        | crispness(rebuilt, true),
    ]
    for name, given in conditions.items():
        for steps in options.steps:
            begin = time.perf_counter()
            drawn = generator.draw(
                **given,
                num_inference_steps=steps,
                guidance_scale=options.guidance_scale,
                rng=torch.Generator().manual_seed(options.seed),
                batch_size=32 if device.type == "cpu" else 256,
            )
            seconds = (time.perf_counter() - begin) / len(scenes)
            row = {"label": options.label, "condition": name, "steps": steps}
            row["guidance_scale"] = options.guidance_scale
            row |= accuracy(judge, drawn, scenes) | placed(place_of, drawn, scenes)
            row |= crispness(drawn, true)
            rows.append(row | {"seconds_per_picture": seconds})
            print(json.dumps(rows[-1]), flush=True)
            if options.sheets and steps == options.steps[min(1, len(options.steps) - 1)]:
                sheet(drawn[:48], options.output / f"generator-{name}.png")
    return {
        "n": len(scenes),
        "seed": options.seed,
        "chance": {
            "category": 1 / len(judge.categories),
            "color": 1 / len(judge.colors),
            "place": 1 / 3,
        },
        "rows": rows,
    }


def true_pictures(scenes: list[Scene], size: int) -> torch.Tensor:
    """Return scenes as pictures ``(n, 3, size, size)`` in [0, 1]."""
    pixels = np.stack([np.asarray(render(scene, size)) for scene in scenes])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def accuracy(judge: Judge, images: torch.Tensor, scenes: list[Scene]) -> dict[str, Any]:
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


def place_classifier(seed: int, size: int) -> LinearDiscriminantAnalysis:
    """Return what tells from edges where the object is; the judge names no place."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(N_PLACED)]
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return classifier.fit(edges(true_pictures(scenes, size)), [scene.place for scene in scenes])


def placed(
    place_of: LinearDiscriminantAnalysis, images: torch.Tensor, scenes: list[Scene]
) -> dict[str, float]:
    """Return the share of pictures whose object is where it is asked for."""
    right = place_of.predict(edges(images)) == np.array([scene.place for scene in scenes])
    return {"place": float(right.mean())}


def crispness(images: torch.Tensor, true: torch.Tensor) -> dict[str, Any]:
    """Power per band and edges as shares of those of the true pictures."""
    return {"power_kept": power_kept(images, true), "edges_kept": edges_kept(images, true)}


def sheet(images: torch.Tensor, path: Path) -> None:
    """Write pictures as one image of 12 columns, each pixel doubled."""
    columns, size = 12, images.shape[-1]
    result = Image.new("RGB", (columns * size, -(-len(images) // columns) * size), "white")
    for i, image in enumerate(images):
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        result.paste(Image.fromarray(pixels), (i % columns * size, i // columns * size))
    path.parent.mkdir(parents=True, exist_ok=True)
    twice = (2 * result.width, 2 * result.height)
    result.resize(twice, Image.Resampling.LANCZOS).save(path, optimize=True)


def table(result: dict[str, Any]) -> str:
    """Return the card as a Markdown table."""
    lines = [
        "| generator | from | steps | category | colour | place | power kept, bands of 4 cycles | "
        "edges | PSNR | s / picture |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        power = " ".join(f"{value:.2f}" for value in row.get("power_kept", []))
        cells = [row["label"], row["condition"], str(row.get("steps", ""))]
        cells += [f"{row['category']:.3f}", f"{row['color']:.3f}"]
        cells += [f"{row['place']:.3f}" if "place" in row else "", power]
        for key, digits in (("edges_kept", 2), ("psnr", 1), ("seconds_per_picture", 2)):
            cells.append(f"{row[key]:.{digits}f}" if key in row else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
