"""Weights to start from: taken whole, from a network of the same sizes, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.models.start import part_of, start_from

pytestmark = pytest.mark.global_rng


def new(**changes: int) -> MaskedAutoencoder:
    sizes = {
        "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2,
        "decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 2,
    }  # fmt: skip
    return MaskedAutoencoder(2, 16, **(sizes | changes))


def test_every_weight_is_taken(tmp_path: Path) -> None:
    earlier, model = new(), new()
    with torch.no_grad():
        for parameter in earlier.parameters():
            parameter.uniform_()
    earlier.save_pretrained(tmp_path / "run" / "mae")
    assert part_of(tmp_path / "run", "mae") == tmp_path / "run" / "mae"
    assert part_of(tmp_path / "run" / "mae", "mae") == tmp_path / "run" / "mae"
    start_from(model, tmp_path / "run" / "mae")
    for name, value in earlier.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_other_sizes_and_other_folders_are_named(tmp_path: Path) -> None:
    new().save_pretrained(tmp_path / "mae")
    with pytest.raises(ValueError, match=r"MaskedAutoencoder with embed_dim 8, .* gives 16"):
        start_from(new(embed_dim=16), tmp_path / "mae")
    with pytest.raises(FileNotFoundError, match=r"init .* holds no MaskedAutoencoder; give"):
        start_from(new(), tmp_path)
