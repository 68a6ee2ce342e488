"""The judge: a small classifier that names what a picture shows.

Scores of generated pictures need a second opinion. The judge is trained on pictures and labels
alone; it shares no weights, no data order and no training signal with the CLIP model that the EEG
is aligned to, so a generator cannot please it by pleasing CLIP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdiffusion.files.whole import write_tensors, write_text
from dreamdiffusion.models.pixels import distinct_pictures
from dreamdiffusion.models.strict import StrictModel


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; the first one may halve the resolution."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        # Group norm has no running averages, so training and use compute the same thing.
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(8, n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(8, n_out)
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.shortcut(x))


class Judge(StrictModel):
    """A small convolutional network with a category head and, if there are colours, a colour head.

    Parameters
    ----------
    categories : list of str
        Names of the categories, in the order of the outputs.
    colors : list of str, optional
        Names of the colours of the object; empty where the pictures have no such label.
    image_size : int
        Width and height in pixels that the network was trained at.
    channels : list of int
        Width of each level, multiples of 8; each level halves the resolution.
    trained_on : str
        What the judge learned from, in words; repeated beside every score that it gives.

    Raises
    ------
    ValueError
        If a name occurs twice or there are fewer than two categories.
    """

    @register_to_config
    def __init__(
        self,
        categories: list[str],
        colors: list[str] | None = None,
        image_size: int = 64,
        channels: list[int] | None = None,
        trained_on: str = "",
    ) -> None:
        super().__init__()
        widths = list(channels or [32, 64, 128])
        for kind, names in (("categories", categories), ("colors", colors or [])):
            if len(set(names)) != len(names):
                raise ValueError(f"{kind} holds a name twice: {', '.join(names)}")
        if len(categories) < 2:
            raise ValueError(f"categories is {categories!r}, a judge needs two or more")
        self.stem = nn.Conv2d(3, widths[0], 5, 2, 2)
        blocks: list[nn.Module] = []
        for level, width in enumerate(widths):
            blocks.append(_Block(widths[max(0, level - 1)], width, 1 if level == 0 else 2))
        blocks.append(_Block(widths[-1], widths[-1], 2))
        self.blocks = nn.Sequential(*blocks)
        self.category_head = nn.Linear(2 * widths[-1], len(categories))
        self.color_head = nn.Linear(2 * widths[-1], len(colors)) if colors else None

    @property
    def categories(self) -> list[str]:
        """Names of the categories, in the order of the outputs."""
        return list(self.config["categories"])

    @property
    def colors(self) -> list[str]:
        """Names of the colours, in the order of the outputs; empty without a colour head."""
        return list(self.config["colors"] or [])

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits.

        Parameters
        ----------
        images : Tensor, (n, 3, image_size, image_size)
            RGB in [0, 1].

        Returns
        -------
        dict
            ``category`` (n, n_categories) and, with a colour head, ``color`` (n, n_colors).
        """
        h = self.blocks(F.relu(self.stem(images * 2 - 1)))
        h = torch.cat([h.mean((2, 3)), h.amax((2, 3))], dim=1)
        logits = {"category": self.category_head(h)}
        if self.color_head is not None:
            logits["color"] = self.color_head(h)
        return logits

    @torch.no_grad()
    def predict(self, images: Tensor, batch_size: int = 256) -> dict[str, Tensor]:
        """Return the probabilities of every category and colour.

        Parameters
        ----------
        images : Tensor, (n, 3, H, W)
            RGB in **[0, 1]**, as a diffusers pipeline returns them with ``output_type="pt"``; any
            size (resized, anti-aliased, to ``image_size``).
        batch_size : int
            Pictures at a time.

        Returns
        -------
        dict
            ``category`` (n, n_categories) and, with a colour head, ``color`` (n, n_colors);
            float32 on the CPU, rows sum to 1.

        Raises
        ------
        ValueError
            If the shape is another one, or values lie outside [0, 1].
        """
        check_images(images)
        rows, which = distinct_pictures(images)  # those of a bank come again and again
        images = images[rows]
        training = self.training
        self.eval()
        size = int(self.config["image_size"])
        parts: dict[str, list[Tensor]] = {}
        try:
            for start in range(0, len(images), batch_size):
                batch = images[start : start + batch_size].to(self.device, torch.float32)
                if batch.shape[-2:] != (size, size):
                    batch = F.interpolate(batch, (size, size), mode="bilinear", antialias=True)
                for name, logits in self(batch).items():
                    parts.setdefault(name, []).append(logits.float().softmax(1).cpu())
        finally:
            self.train(training)
        return {name: torch.cat(batches)[which] for name, batches in parts.items()}


def check_images(images: Tensor, name: str = "images") -> None:
    """Raise unless ``images`` is (n, 3, H, W) with n > 0 and finite values in [0, 1].

    Raises
    ------
    ValueError
        If the shape or the range is another one.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"{name} has shape {tuple(images.shape)}, expected (n, 3, H, W)")
    low, high = (float(v) for v in torch.aminmax(images))
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also false for NaN
        raise ValueError(
            f"{name} lies in [{low:.3g}, {high:.3g}], expected [0, 1]; "
            "for pictures in [-1, 1] pass (images + 1) / 2"
        )


def label_indices(names: list[str], labels: Any, kind: str = "category") -> list[int]:
    """Return the place of every label among the judge's names.

    Raises
    ------
    ValueError
        If a label is none of the names; all such labels are named.
    """
    place = {name: i for i, name in enumerate(names)}
    unknown = sorted({str(label) for label in labels} - set(place))
    if unknown:
        raise ValueError(
            f"the judge does not know the {kind} {', '.join(map(repr, unknown))} of the data; it "
            f"knows {', '.join(names)}. Train a judge on the data's categories with train-judge"
        )
    return [place[str(label)] for label in labels]


def save_judge(judge: Judge, folder: Path) -> None:
    """Write a judge into a folder that may hold more, each file whole, the one that names it last.

    Raises
    ------
    OSError
        If the disk is full or fails.
    """
    weights = {name: value.cpu().contiguous() for name, value in judge.state_dict().items()}
    write_tensors(folder / "diffusion_pytorch_model.safetensors", weights, {"format": "pt"})
    write_text(folder / "config.json", judge.to_json_string())


def load_judge(folder: Path) -> Judge:
    """Open a judge.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds none, or something else.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"judge {folder} does not exist; make one with train-judge")
    return Judge.from_pretrained(folder).eval()
