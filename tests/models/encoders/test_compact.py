"""The compact encoder: its size, its arithmetic, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dreamdiffusion.models.encoders.compact import CompactEncoder

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


def test_size_of_the_measured_network() -> None:
    encoder = CompactEncoder(n_chans=64, n_times=128)
    # 64 x 64 over channels; 64 x 40 x 13 + 40 over time; 2 x 40; 40 x 20 x 128 + 128; the rest.
    expected = 4096 + 33320 + 80 + 102528 + 128 * 128 + 128 + 256
    assert sum(p.numel() for p in encoder.parameters()) == expected


def test_layers_by_bare_arithmetic() -> None:
    encoder = CompactEncoder(
        n_chans=3, n_times=12, n_spatial=2, n_temporal=4, kernel_size=3, pool_size=5,
        pool_stride=3, embed_dim=6,
    ).eval()  # fmt: skip
    eeg = torch.randn(2, 3, 12, generator=torch.Generator().manual_seed(0))
    space, time = encoder.features[0], encoder.features[1]
    mixed = torch.einsum("oc,bct->bot", space.weight[:, :, 0], eeg)
    padded = F.pad(mixed, (1, 1)).unfold(2, 3, 1)  # (B, O, T, K)
    filtered = torch.einsum("nok,botk->bnt", time.weight, padded) + time.bias[:, None]
    active = F.elu(filtered / (1 + 1e-5) ** 0.5)  # the statistics before any training: 0 and 1
    means = torch.stack([active[:, :, i : i + 5].mean(dim=2) for i in (0, 3, 6)], dim=2)
    hidden = encoder.project(means.flatten(1))
    hidden = hidden + encoder.residual[1](F.gelu(hidden))
    centred = hidden - hidden.mean(dim=1, keepdim=True)
    expected = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(encoder(eeg), expected, atol=1e-5, rtol=1e-4)


def test_saved_and_opened_it_gives_the_same(tmp_path: Path) -> None:
    encoder = CompactEncoder(n_chans=3, n_times=20, n_temporal=4, embed_dim=8).eval()
    encoder.save_pretrained(tmp_path)
    eeg = torch.randn(2, 3, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(CompactEncoder.from_pretrained(tmp_path).eval()(eeg), encoder(eeg))


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="10 time points, fewer than pool_size 13"):
        CompactEncoder(n_chans=3, n_times=10)
    with pytest.raises(ValueError, match="kernel_size is 12, expected an odd number"):
        CompactEncoder(kernel_size=12)
    with pytest.raises(ValueError, match=r"shape \(1, 3, 20\).*n_chans=64, n_times=128"):
        CompactEncoder()(torch.zeros(1, 3, 20))
