"""Tokens: hand-worked cutting, counts and determinism of masking, tiling as numpy.resize."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamdiffusion.models.encoders.tokens import (
    count_tokens,
    patchify,
    random_masking,
    tile_channels,
    unpatchify,
)
from dreamdiffusion.training.random_numbers import Draw

# One test draws from torch's global numbers to show that masking does not.
pytestmark = pytest.mark.global_rng


def draw(n: int, seed: int = 0) -> Draw:
    return Draw(seed, 0, n)


def test_patchify_by_hand():
    eeg = torch.tensor([[[0.0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]])  # (1, 3, 4)
    expected = torch.tensor([[[0.0, 10, 20, 1, 11, 21], [2, 12, 22, 3, 13, 23]]])
    assert torch.equal(patchify(eeg, 2), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 4))
def test_unpatchify_undoes_patchify(batch: int, n_chans: int, n_tokens: int, patch_size: int):
    eeg = draw(batch).randn(n_chans, n_tokens * patch_size)
    tokens = patchify(eeg, patch_size)
    assert tokens.shape == (batch, n_tokens, patch_size * n_chans)
    assert torch.equal(unpatchify(tokens, n_chans), eeg)


def test_paper_shapes():
    assert patchify(torch.zeros(2, 128, 512), 4).shape == (2, 128, 512)


def test_a_broken_token_is_an_error_that_names_the_fix():
    with pytest.raises(ValueError, match=r"n_times is 130.*patch_size 4.*128 time points"):
        patchify(torch.zeros(1, 2, 130), 4)
    with pytest.raises(ValueError, match="n_times is 0"):
        count_tokens(0, 4)
    with pytest.raises(ValueError, match=r"7 wide.*n_chans 3"):
        unpatchify(torch.zeros(1, 2, 7), 3)


@pytest.mark.parametrize(
    ("n_tokens", "mask_ratio", "n_keep"),
    [(128, 0.75, 32), (128, 0.1, 115), (128, 0.85, 19), (10, 0.9, 1), (10, 0.3, 7), (2, 0.5, 1)],
)
def test_masking_counts(n_tokens: int, mask_ratio: float, n_keep: int):
    ids_keep, ids_restore, mask = random_masking(n_tokens, mask_ratio, draw(5))
    assert ids_keep.shape == (5, n_keep)
    assert mask.sum(dim=1).tolist() == [n_tokens - n_keep] * 5
    assert torch.equal(ids_restore.sort(dim=1).values, torch.arange(n_tokens).expand(5, -1))
    assert torch.equal(mask.gather(1, ids_keep), torch.zeros(5, n_keep))


def test_masking_is_the_argsort_of_the_noise():
    noise = draw(3, 7).rand(8)
    ids_keep, _, mask = random_masking(8, 0.5, draw(3, 7))
    order = np.argsort(noise.numpy(), axis=1)
    assert ids_keep.tolist() == order[:, :4].tolist()
    for row in range(3):
        assert sorted(np.flatnonzero(mask[row])) == sorted(order[row, 4:])


def test_ids_restore_puts_tokens_back_in_order():
    tokens = torch.arange(12.0).expand(2, 12)
    ids_keep, ids_restore, mask = random_masking(12, 0.75, draw(2))
    shown = tokens.gather(1, ids_keep)
    restored = torch.cat([shown, torch.full((2, 9), -1.0)], dim=1).gather(1, ids_restore)
    assert torch.equal(restored, torch.where(mask.bool(), torch.tensor(-1.0), tokens))


def test_masking_depends_on_the_generator_only():
    torch.manual_seed(1)
    first = random_masking(64, 0.75, draw(4, 3))
    torch.manual_seed(2)
    second = random_masking(64, 0.75, draw(4, 3))
    other = random_masking(64, 0.75, draw(4, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[2], other[2])


def test_masking_is_uniform_over_tokens_and_differs_between_windows():
    mask = random_masking(16, 0.75, draw(4000))[2]
    assert (mask.mean(dim=0) - 0.75).abs().max() < 5 * (0.75 * 0.25 / 4000) ** 0.5
    assert len({tuple(row.tolist()) for row in mask[:50]}) > 45


@pytest.mark.parametrize("mask_ratio", [0.0, 1.0, -0.2, 1.5])
def test_mask_ratio_outside_its_range(mask_ratio: float):
    with pytest.raises(ValueError, match="mask_ratio"):
        random_masking(8, mask_ratio, draw(1))


def test_too_few_tokens_for_the_ratio():
    with pytest.raises(ValueError, match=r"0\.75 of 3 tokens leaves none visible"):
        random_masking(3, 0.75, draw(1))


@pytest.mark.parametrize("n_chans", [4, 5, 14, 128])
def test_tile_channels_is_numpy_resize(n_chans: int):
    eeg = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    expected = np.resize(eeg, (n_chans, 6))
    assert np.array_equal(tile_channels(torch.from_numpy(eeg), n_chans).numpy(), expected)
    batch = tile_channels(torch.from_numpy(eeg).expand(3, -1, -1), n_chans)
    assert np.array_equal(batch[2].numpy(), expected)


def test_more_channels_than_the_model_is_an_error():
    with pytest.raises(ValueError, match=r"8 channels.*at most 4.*picks"):
        tile_channels(torch.zeros(8, 5), 4)
