"""Training of the judge, on drawn scenes or on class folders of pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, COLORS, random_scene, render
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.pictures import SUFFIXES, picture_path, read_image
from dreamdiffusion.files.progress import progress
from dreamdiffusion.files.schema import PictureFit, write_yaml
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.models.config import TrainJudgeConfig
from dreamdiffusion.models.judge.judge import Judge, save_judge
from dreamdiffusion.models.picture_prints import load_descriptions, load_prints, save_prints
from dreamdiffusion.models.start import start_from
from dreamdiffusion.training.device import choose_device, is_main_process
from dreamdiffusion.training.loop import train_task
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.training.task import Task

HELD_OUT = 0.1
"""Fraction of the pictures that are never trained on, per category."""


@dataclass
class LabelledPictures:
    """Labelled pictures, split into a part to train on and a held-out part.

    Attributes
    ----------
    images : Tensor, (n, 3, size, size)
        uint8.
    labels : dict of str to Tensor, (n,)
        ``category`` and perhaps ``color``, int64 places in ``names``.
    names : dict of str to list of str
        Names of the labels.
    held_out : Tensor, (n,)
        bool.
    source : str
        In words.
    """

    images: Tensor
    labels: dict[str, Tensor]
    names: dict[str, list[str]]
    held_out: Tensor
    source: str

    @property
    def digest(self) -> str:
        """Twelve letters that are others where a picture or a label is."""
        parts = [self.images, self.held_out, *(self.labels[name] for name in sorted(self.labels))]
        content = hashlib.sha256(repr(self.names).encode("utf-8"))
        for part in parts:
            content.update(part.contiguous().numpy().tobytes())
        return content.hexdigest()[:12]


def draw_labelled(n_scenes: int, size: int, seed: int) -> LabelledPictures:
    """Draw ``n_scenes`` scenes; every tenth is held out.

    The seeds of the scenes are drawn from a stream of their own, so they are other pictures than
    those that the generator trains on or that a simulated person is shown.
    """
    rng = np.random.default_rng([seed, 0x1D6E])
    images = torch.empty(n_scenes, 3, size, size, dtype=torch.uint8)
    categories, colors = list(CATEGORIES), list(COLORS)
    labels = {name: torch.empty(n_scenes, dtype=torch.int64) for name in ("category", "color")}
    for i in progress(range(n_scenes), "drawing scenes", unit="picture"):
        scene = random_scene(rng)
        images[i] = torch.from_numpy(np.array(render(scene, size))).permute(2, 0, 1)
        labels["category"][i] = categories.index(scene.category)
        labels["color"][i] = colors.index(scene.color)
    held_out = torch.arange(n_scenes) % round(1 / HELD_OUT) == 0
    names = {"category": categories, "color": colors}
    return LabelledPictures(
        images, labels, names, held_out, f"{n_scenes} drawn scenes, seed {seed}"
    )


def read_class_folders(
    folder: Path, size: int, seed: int, fit: PictureFit = "crop"
) -> LabelledPictures:
    """Read the pictures ``folder/<category>/*`` as squares.

    Parameters
    ----------
    folder
        One sub-folder per category.
    size
        Pixels.
    seed
        Of the choice of held-out pictures, a tenth of every category but at least one.
    fit
        How pictures become squares.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If there are fewer than two categories, a category has fewer than two pictures, or a
        picture cannot be read or lies outside the folder; the message names it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"picture folder {folder} does not exist")
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(classes) < 2:
        raise ValueError(f"{folder} has {len(classes)} sub-folders, expected one per category")
    rng = np.random.default_rng([seed, 0x1D6F])
    images, labels, held_out = [], [], []
    for label, path in enumerate(classes):
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if len(files) < 2:
            raise ValueError(f"category folder {path} has {len(files)} pictures, expected 2+")
        apart = np.zeros(len(files), dtype=bool)
        apart[rng.permutation(len(files))[: max(1, round(HELD_OUT * len(files)))]] = True
        held_out += apart.tolist()
        labels += [label] * len(files)
        inside = [picture_path(folder, str(file.relative_to(folder))) for file in files]
        images += [read_image(file, size, fit) for file in inside]
    names = [path.name for path in classes]
    source = f"{len(images)} pictures of {len(names)} class folders in {folder.name}"
    return LabelledPictures(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        {"category": torch.tensor(labels)},
        {"category": names},
        torch.tensor(held_out),
        source,
    )


def augment_pictures(images: Tensor, draw: Draw) -> Tensor:
    """Change pictures as a generator's faults would: shift, zoom, blur, grain, light.

    Hue is left alone, because pink, red and orange lie close together.

    Parameters
    ----------
    images : Tensor, (n, 3, H, W)
        In [0, 1].
    draw
        Source of all randomness.

    Returns
    -------
    Tensor, (n, 3, H, W)
        In [0, 1].
    """
    n, _, height, width = images.shape
    device = images.device

    def uniform(low: float, high: float) -> Tensor:
        drawn = draw.rand() * (high - low) + low
        return drawn.to(device).view(n, 1, 1, 1)

    turn, shift_x, shift_y = uniform(-0.12, 0.12), uniform(-0.1, 0.1), uniform(-0.1, 0.1)
    zoom, mirror = uniform(0.9, 1.1), uniform(-1, 1).sign()
    cos, sin = turn.cos() * zoom, turn.sin() * zoom
    rows = [torch.cat(row, 2) for row in ((cos * mirror, -sin, shift_x), (sin, cos, shift_y))]
    grid = F.affine_grid(torch.cat(rows, 1).squeeze(-1), list(images.shape), align_corners=False)
    # Light and grain are of pictures about 0, where grey stays as it is.
    out = F.grid_sample(images * 2 - 1, grid, padding_mode="border", align_corners=False)
    # Half the pictures keep their edges; the others lose detail as in a VAE's blur.
    coarse = F.interpolate(out, scale_factor=0.5, mode="bilinear", antialias=True)
    coarse = F.interpolate(coarse, (height, width), mode="bilinear")
    out = out + uniform(-1, 1).clamp(min=0) * (coarse - out)
    grain = draw.randn(3, height, width).to(device)
    clouds = draw.randn(3, height // 8, width // 8).to(device)
    clouds = F.interpolate(clouds, (height, width), mode="bilinear")
    out = out + uniform(-0.1, 0.15).clamp(min=0) * grain + uniform(-0.1, 0.15).clamp(min=0) * clouds
    out = out * uniform(0.88, 1.1) + uniform(-0.08, 0.08)
    return ((out + 1) / 2).clamp(0, 1)


class JudgeTask(Task):
    """The judge's cross-entropy on augmented pictures, with light label smoothing."""

    def __init__(self, judge: Judge, pictures: LabelledPictures, config: TrainJudgeConfig) -> None:
        self.modules: dict[str, nn.Module] = {"judge": judge}
        self.judge = judge
        self.pictures = pictures
        self.device = choose_device(config.runtime)
        self.places = torch.nonzero(~pictures.held_out).squeeze(1)
        self.n_samples = len(self.places)
        self.given = {"digest of data": pictures.digest}
        self.images = pictures.images.to(self.device)

    def loss(self, indices: Tensor, draw: Draw) -> dict[str, Tensor]:
        """Return the loss of a batch ``(n,)``, summed over the heads."""
        chosen = self.places[indices]
        images = self.images[chosen.to(self.device)].float() / 255
        logits = self.judge(augment_pictures(images, draw))
        losses = {
            f"{name}_loss": F.cross_entropy(
                values, self.pictures.labels[name][chosen].to(self.device), label_smoothing=0.05
            )
            for name, values in logits.items()
        }
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def validate(self) -> dict[str, float]:
        """Return the accuracy on held-out pictures, as they are and augmented."""
        apart = torch.nonzero(self.pictures.held_out).squeeze(1)
        images = self.pictures.images[apart].float() / 255
        worn = augment_pictures(images, Draw(0, 0, len(images)))
        figures = {}
        for suffix, batch in (("accuracy", images), ("accuracy_augmented", worn)):
            for name, probabilities in self.judge.predict(batch).items():
                hit = probabilities.argmax(1) == self.pictures.labels[name][apart]
                figures[f"{name}_{suffix}"] = float(hit.double().mean())
        return figures


@writes_output(RESUMES)
def train_judge(config: TrainJudgeConfig) -> Path:
    """Train a judge and save it with its held-out accuracy.

    Parameters
    ----------
    config
        ``data`` empty: drawn scenes; otherwise class folders of pictures.

    Returns
    -------
    Path
        ``config.output``: a diffusers model folder with ``scores.json``, ``config.yaml`` (the
        resolved configuration), ``log.jsonl`` and ``checkpoints/``.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_class_folders`.
    """
    if config.data is None:
        pictures = draw_labelled(config.n_scenes, config.image_size, config.seed)
    else:
        pictures = read_class_folders(
            config.data, config.image_size, config.seed, config.picture_fit
        )
    config.output.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_yaml(config, config.output / "config.yaml")
    with torch.random.fork_rng(devices=[]):  # the initial weights, without touching global state
        torch.manual_seed(config.seed)
        judge = Judge(
            categories=pictures.names["category"],
            colors=pictures.names.get("color"),
            image_size=config.image_size,
            trained_on=pictures.source,
        )
    earlier_prints, descriptions = [], None
    if config.init is not None:
        earlier = start_from(judge, config.init, aside=("trained_on", "image_size"))
        source = f"{pictures.source}, from weights trained on {earlier.config['trained_on']}"
        judge.register_to_config(trained_on=source)
        prints = load_prints(config.init)
        earlier_prints += [] if prints is None else [prints]
        descriptions = load_descriptions(config.init)
    task = JudgeTask(judge, pictures, config)
    train_task(task, config, config.output, "judge")
    if not is_main_process():
        return config.output
    figures = task.validate()
    save_judge(judge, config.output)
    trained = pictures.images[~pictures.held_out].permute(0, 2, 3, 1).numpy()
    drawn = config.data is None
    save_prints(config.output, trained, earlier_prints, descriptions, drawn)
    scores = {
        "split": "held-out pictures",
        "n": int(pictures.held_out.sum()),
        "n_train": task.n_samples,
        "trained_on": judge.config["trained_on"],
        "chance": {f"{k}_accuracy": 1 / len(v) for k, v in pictures.names.items()},
        **{name: round(value, 4) for name, value in figures.items()},
    }
    write_json(config.output / "scores.json", scores)
    return config.output
