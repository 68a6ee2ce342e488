"""From a window of EEG to tokens and back, and the random choice of the tokens that are hidden.

A token is all channels of ``patch_size`` consecutive time points (paper section 3.1). Shapes are
written with these letters:

====  ==========================================================
B     windows or trials in the batch
C     channels (``n_chans``)
T     time points (``n_times``)
P     time points per token (``patch_size``)
N     tokens, ``T / P``
====  ==========================================================
"""

from __future__ import annotations

import torch

from dreamdiffusion.training.random_numbers import Draw


def count_tokens(n_times: int, patch_size: int) -> int:
    """Return the number of tokens of a window.

    Raises
    ------
    ValueError
        If the window does not hold a whole number of tokens.
    """
    if n_times < 1 or n_times % patch_size:
        whole = max(patch_size, n_times - n_times % patch_size)
        raise ValueError(
            f"n_times is {n_times}, expected a multiple of patch_size {patch_size}; cut windows "
            f"of {whole} time points or choose another patch_size"
        )
    return n_times // patch_size


def patchify(eeg: torch.Tensor, patch_size: int) -> torch.Tensor:
    """Cut EEG into tokens, time-major: all channels at one time point lie side by side.

    Parameters
    ----------
    eeg
        Signal ``(B, C, T)``.
    patch_size
        Time points per token, P.

    Returns
    -------
    torch.Tensor
        ``(B, N, P * C)``; element ``p * C + c`` of token ``n`` is channel ``c`` at time point
        ``n * P + p``.

    Raises
    ------
    ValueError
        If T is not a multiple of P.
    """
    batch, n_chans, n_times = eeg.shape
    n_tokens = count_tokens(n_times, patch_size)
    return eeg.transpose(1, 2).reshape(batch, n_tokens, patch_size * n_chans)


def unpatchify(tokens: torch.Tensor, n_chans: int) -> torch.Tensor:
    """Undo :func:`patchify`: tokens ``(B, N, P * C)`` -> signal ``(B, C, T)``.

    Raises
    ------
    ValueError
        If the width of the tokens is not a multiple of ``n_chans``.
    """
    batch, n_tokens, width = tokens.shape
    if width % n_chans:
        raise ValueError(
            f"tokens are {width} wide, expected a multiple of n_chans {n_chans}; give the n_chans "
            "that patchify saw"
        )
    return tokens.reshape(batch, n_tokens * (width // n_chans), n_chans).transpose(1, 2)


def random_masking(
    n_tokens: int, mask_ratio: float, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose the tokens that are hidden, for each window on its own.

    Tokens are ordered by uniform noise; the first ``int(N * (1 - mask_ratio))`` stay visible, as
    in He et al. 2022 (arXiv 2111.06377, section 3) and the paper's section 3.1.

    Parameters
    ----------
    mask_ratio
        Fraction of hidden tokens, above 0 and below 1.
    draw
        Source of the noise, for as many windows as it has samples.

    Returns
    -------
    ids_keep
        int64 ``(B, n_keep)``, positions of the visible tokens, in random order.
    ids_restore
        int64 ``(B, N)``: ``cat([visible, hidden], dim=1)`` gathered with it is in order of time.
    mask
        float32 ``(B, N)``, 1 where the token is hidden.

    Raises
    ------
    ValueError
        If no token would stay visible, or none would be hidden.
    """
    if not 0 < mask_ratio < 1:
        raise ValueError(f"mask_ratio is {mask_ratio}, expected a fraction above 0 and below 1")
    n_keep = int(n_tokens * (1 - mask_ratio) + 1e-9)  # 10 * (1 - .9) is .99999: means 1
    if not 0 < n_keep < n_tokens:
        kind = "visible" if n_keep == 0 else "hidden"
        raise ValueError(
            f"mask_ratio {mask_ratio} of {n_tokens} tokens leaves none {kind}; use longer windows, "
            "a smaller patch_size or another mask_ratio"
        )
    noise = draw.rand(n_tokens)
    ids_shuffle = torch.argsort(noise, dim=1, stable=True)
    ids_restore = torch.argsort(ids_shuffle, dim=1, stable=True)
    mask = (ids_restore >= n_keep).to(torch.float32)
    return ids_shuffle[:, :n_keep], ids_restore, mask


def tile_channels(
    eeg: torch.Tensor, n_chans: int, present: torch.Tensor | None = None
) -> torch.Tensor:
    """Repeat channels cyclically until there are ``n_chans``, as the paper's code does.

    Equal to ``numpy.resize`` over rows: 4 channels become ``0 1 2 3 0 1 2 3 0 ...``.

    Parameters
    ----------
    eeg
        Signal ``(..., C, T)``.
    n_chans
        Channels of the model.
    present
        bool ``(B, C)`` for signals ``(B, C, T)`` of several montages: which channels there are,
        first those and then the others. Each window repeats its own. Empty: all of them.

    Raises
    ------
    ValueError
        If the signal has more channels than the model. (The authors cut a random contiguous part;
        which channels the model sees is the user's choice here.)
    """
    most = eeg.shape[-2]
    if most > n_chans:
        raise ValueError(
            f"the EEG has {most} channels, the model takes at most {n_chans}; set n_chans to "
            f"{most} or more, or name the {n_chans} channels to keep with signal.picks"
        )
    if present is None or bool(present.all()):
        if most == n_chans:
            return eeg
        return eeg.index_select(-2, torch.arange(n_chans, device=eeg.device) % most)
    rows = torch.arange(n_chans, device=eeg.device) % present.sum(dim=1, keepdim=True)
    return eeg.gather(1, rows[:, :, None].expand(-1, -1, eeg.shape[2]))
