"""The encoder: sizes of the paper, parity with a plain reference, strict round trips."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dreamdiffusion.models.encoders.eeg import EEGEncoder, sincos_positions
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.training.random_numbers import Draw

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

SMALL = {
    "n_chans": 3,
    "n_times": 32,
    "patch_size": 4,
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 1.5,
}
SMALL_DECODER = {"decoder_embed_dim": 12, "decoder_depth": 2, "decoder_num_heads": 3}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(n: int, seed: int = 0) -> Draw:
    return Draw(seed, 0, n)


def small_autoencoder(seed: int = 0) -> MaskedAutoencoder:
    """A tiny model whose biases and norms are not at their neutral start."""
    model = MaskedAutoencoder(**SMALL, **SMALL_DECODER)
    model.init_weights(generator(seed))
    noise = generator(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    return model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- an independent reference: one window, one head, one token at a time ---------------------


def reference_norm(x: torch.Tensor, weights: dict, name: str) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def reference_linear(x: torch.Tensor, weights: dict, name: str) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def reference_block(x: torch.Tensor, weights: dict, name: str, heads: int) -> torch.Tensor:
    """``x`` is one window, ``(tokens, width)``."""
    width = x.shape[1]
    size = width // heads
    qkv = reference_linear(reference_norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv")
    out = []
    for head in range(heads):
        here = slice(head * size, (head + 1) * size)
        q, k, v = (qkv[:, i * width : (i + 1) * width][:, here] for i in range(3))
        score = torch.exp(q @ k.T / math.sqrt(size))
        out.append(score / score.sum(1, keepdim=True) @ v)
    x = x + reference_linear(torch.cat(out, dim=1), weights, f"{name}.attn.proj")
    h = reference_linear(reference_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    h = 0.5 * h * (1 + torch.erf(h / math.sqrt(2)))
    return x + reference_linear(h, weights, f"{name}.mlp.fc2")


def reference_positions(n_tokens: int, width: int) -> torch.Tensor:
    table = torch.zeros(n_tokens + 1, width)
    for n in range(n_tokens):
        for i in range(width // 2):
            angle = n / 10000 ** (i / (width / 2))
            table[n + 1, i] = math.sin(angle)
            table[n + 1, width // 2 + i] = math.cos(angle)
    return table


def reference_encode(
    eeg: torch.Tensor, keep: list[int], weights: dict, prefix: str = ""
) -> torch.Tensor:
    """One window ``(C, T)`` -> ``(1 + kept, D)``, cls first."""
    size, width = SMALL["patch_size"], SMALL["embed_dim"]
    positions = reference_positions(SMALL["n_times"] // size, width)
    kernel = weights[f"{prefix}patch_embed.proj.weight"]  # (D, C, P)
    rows = [weights[f"{prefix}cls_token"][0, 0] + positions[0]]
    for n in keep:
        patch = eeg[:, n * size : (n + 1) * size]
        token = (kernel * patch).sum(dim=(1, 2)) + weights[f"{prefix}patch_embed.proj.bias"]
        rows.append(token + positions[1 + n])
    x = torch.stack(rows)
    for i in range(SMALL["depth"]):
        x = reference_block(x, weights, f"{prefix}blocks.{i}", SMALL["num_heads"])
    return reference_norm(x, weights, f"{prefix}norm")


def reference_loss(
    eeg: torch.Tensor, noise: torch.Tensor, n_keep: int, weights: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and predictions of the whole autoencoder, window by window."""
    size = SMALL["patch_size"]
    width = SMALL_DECODER["decoder_embed_dim"]
    n_tokens = SMALL["n_times"] // size
    errors, predictions = [], []
    for window, row in zip(eeg, noise, strict=True):
        order = sorted(range(n_tokens), key=lambda n, row=row: float(row[n]))
        kept, hidden = order[:n_keep], order[n_keep:]
        code = reference_encode(window, kept, weights, "encoder.")
        code = reference_linear(code, weights, "decoder_embed")
        rows = [code[0]] + [weights["mask_token"][0, 0]] * n_tokens
        for place, n in enumerate(kept):
            rows[1 + n] = code[1 + place]
        x = torch.stack(rows) + reference_positions(n_tokens, width)
        for i in range(SMALL_DECODER["decoder_depth"]):
            x = reference_block(
                x, weights, f"decoder_blocks.{i}", SMALL_DECODER["decoder_num_heads"]
            )
        pred = reference_linear(
            reference_norm(x, weights, "decoder_norm"), weights, "decoder_pred"
        )[1:]
        predictions.append(pred)
        for n in hidden:
            target = torch.cat([window[:, t] for t in range(n * size, (n + 1) * size)])
            errors.append(((pred[n] - target) ** 2).mean())
    return torch.stack(errors).mean(), torch.stack(predictions)


# --- tests -----------------------------------------------------------------------------------


def test_autoencoder_agrees_with_the_plain_reference():
    model = small_autoencoder()
    eeg = torch.randn(5, 3, 32, generator=generator(5))
    result = model(eeg, 0.75, draw(5, 9))
    result.loss.backward()
    noise = draw(5, 9).rand(8)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    loss, pred = reference_loss(eeg, noise, 2, weights)
    loss.backward()
    assert abs(result.loss.item() - loss.item()) < 1e-5
    torch.testing.assert_close(result.pred, pred, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, weights[name].grad, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: n + m
        )
        assert weights[name].grad.abs().max() > 0, f"{name} takes no part"


def test_encoder_agrees_with_the_plain_reference():
    encoder = small_autoencoder().encoder
    eeg = torch.randn(2, 3, 32, generator=generator(5))
    weights = dict(encoder.named_parameters())
    expected = torch.stack([reference_encode(window, list(range(8)), weights) for window in eeg])
    embedding = encoder(eeg)
    assert embedding.shape == (2, 8, 16)
    torch.testing.assert_close(embedding, expected[:, 1:], atol=1e-5, rtol=1e-5)


def test_cls_token_takes_part_in_both_stages():
    encoder = small_autoencoder().encoder
    eeg = torch.randn(2, 3, 32, generator=generator())
    everything = torch.arange(8).expand(2, -1)
    torch.testing.assert_close(encoder(eeg), encoder.encode_visible(eeg, everything)[:, 1:])
    before = encoder(eeg)
    with torch.no_grad():
        encoder.cls_token.neg_()  # a constant would vanish in the layer norms
    assert not torch.allclose(before, encoder(eeg), atol=1e-3)


def test_hidden_tokens_leave_no_trace_in_the_prediction():
    model = small_autoencoder()
    eeg = torch.randn(1, 3, 32, generator=generator())
    first = model(eeg, 0.75, draw(len(eeg), 1))
    hidden = first.mask.repeat_interleave(4, dim=1)[:, None].bool()
    changed = torch.where(hidden, eeg + 100, eeg)
    assert torch.equal(model(changed, 0.75, draw(len(changed), 1)).pred, first.pred)


def test_loss_counts_hidden_tokens_only_by_hand():
    model = MaskedAutoencoder(**SMALL, **SMALL_DECODER)
    with torch.no_grad():
        model.decoder_pred.weight.zero_()
        model.decoder_pred.bias.fill_(1.0)  # every prediction is 1
    eeg = torch.full((1, 3, 32), 3.0)
    assert model(eeg, 0.75, draw(len(eeg))).loss.item() == pytest.approx(4.0)
    mask = model(eeg, 0.75, draw(len(eeg))).mask.repeat_interleave(4, dim=1)[:, None]
    eeg = torch.where(mask.bool(), torch.tensor(1.0), eeg)  # wrong on visible tokens only
    assert model(eeg, 0.75, draw(len(eeg))).loss.item() == 0


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        model = MaskedAutoencoder()
        wide = EEGEncoder(mlp_ratio=4.0)
    stored = sum(tensor.numel() for tensor in model.state_dict().values())
    assert count(model.encoder) / 1e6 == pytest.approx(151.8, abs=0.05)
    assert stored / 1e6 == pytest.approx(165.4, abs=0.05)  # the authors count the position tables
    assert count(wide) / 1e6 == pytest.approx(302.8, abs=0.05)


def test_positions_by_hand():
    table = sincos_positions(2, 4)
    expected = [[0, 0, 0, 0], [0, 0, 1, 1], [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)]]
    np.testing.assert_allclose(table[0].numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(
        sincos_positions(128, 64)[0], reference_positions(128, 64), atol=1e-4
    )
    with pytest.raises(ValueError, match="embed_dim is 5"):
        sincos_positions(2, 5)


def test_positions_are_fixed():
    model = MaskedAutoencoder(**SMALL, **SMALL_DECODER)
    assert not any("pos_embed" in name for name, _ in model.named_parameters())
    assert {"encoder.pos_embed", "decoder_pos_embed"} <= set(model.state_dict())


def test_initial_weights():
    model = MaskedAutoencoder(**{**SMALL, "embed_dim": 256}, **SMALL_DECODER)
    model.init_weights(generator())
    model.requires_grad_(False)
    block = model.encoder.blocks[0]
    bound = math.sqrt(6 / (256 + 3 * 256))  # xavier-uniform of the joint qkv matrix
    assert 0.99 * bound < block.attn.qkv.weight.abs().max() <= bound
    assert block.attn.qkv.weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    conv = model.encoder.patch_embed.proj
    assert conv.weight.std() == pytest.approx(0.02, rel=0.1)
    assert model.encoder.cls_token.std() == pytest.approx(0.02, rel=0.15)
    assert 0 < model.mask_token.abs().max() < 0.1
    assert all(p.abs().max() == 0 for n, p in model.named_parameters() if n.endswith("bias"))
    assert torch.equal(block.norm1.weight, torch.ones(256))


def test_initial_weights_depend_on_the_generator_only():
    models = [MaskedAutoencoder(**SMALL, **SMALL_DECODER) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        model.init_weights(generator(seed))
    first, same, other = ([p.clone() for p in model.parameters()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0], other[0])


def test_save_and_load(tmp_path: Path):
    model = small_autoencoder()
    model.encoder.save_pretrained(tmp_path / "encoder")
    model.save_pretrained(tmp_path / "mae")
    config = json.loads((tmp_path / "encoder/config.json").read_text())
    assert config["_class_name"] == "EEGEncoder"
    assert {key: config[key] for key in SMALL} == SMALL
    eeg = torch.randn(2, 3, 32, generator=generator())
    assert torch.equal(EEGEncoder.from_pretrained(tmp_path / "encoder")(eeg), model.encoder(eeg))
    loaded = MaskedAutoencoder.from_pretrained(tmp_path / "mae")
    assert torch.equal(
        loaded(eeg, 0.75, draw(len(eeg), 1)).pred, model(eeg, 0.75, draw(len(eeg), 1)).pred
    )
    loaded, info = EEGEncoder.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert info["missing_keys"] == []


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str):
    EEGEncoder(**SMALL).save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    if fault == "missing":
        del tensors["blocks.1.mlp.fc2.bias"]
    elif fault == "unknown":
        tensors["blocks.2.mlp.fc2.bias"] = torch.zeros(16)
    else:
        tensors["norm.bias"] = torch.zeros(17)
    save_file(tensors, path)
    name = {"missing": "blocks.1.mlp.fc2.bias", "unknown": "blocks.2.mlp", "shape": "norm.bias"}
    with pytest.raises(ValueError, match=name[fault]):
        EEGEncoder.from_pretrained(tmp_path)


def test_a_pickle_is_never_read(tmp_path: Path):
    EEGEncoder(**SMALL).save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(EEGEncoder(**SMALL).state_dict(), tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        EEGEncoder.from_pretrained(tmp_path)


def test_a_wrong_shape_is_an_error_that_names_both():
    encoder = EEGEncoder(**SMALL)
    with pytest.raises(ValueError, match=r"\(1, 4, 32\).*n_chans=3, n_times=32"):
        encoder(torch.zeros(1, 4, 32))
    with pytest.raises(ValueError, match=r"n_times is 30.*patch_size 4"):
        EEGEncoder(**{**SMALL, "n_times": 30})
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        EEGEncoder(**{**SMALL, "num_heads": 3})
