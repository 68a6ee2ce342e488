"""Import of the authors' checkpoints, on files written in their layout at small sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from dreamdiffusion.decoders.config import ConvertConfig
from dreamdiffusion.decoders.dreamdiffusion.convert import convert
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.training.random_numbers import Draw

pytestmark = pytest.mark.global_rng

N_CHANS, PATCH, N_TOKENS, WIDTH, HEADS, DEPTH = 6, 4, 8, 16, 4, 2
N_CONDITION, CROSS, TIME, CLIP = 7, 24, 128, 20
UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": CROSS,
    "attention_head_dim": 2,
}
VAE = {
    "sample_size": 16,
    "block_out_channels": [32, 64],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
}


class Config:
    """An object of theirs that is pickled into the file."""

    def __init__(self) -> None:
        self.lr = 5.3e-5


OUTER = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
INNER = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}


def replace_prefix(key: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return key


def unet_name(key: str) -> str:
    """The name that CompVis gives to a tensor of diffusers' U-Net with one layer a block."""
    n_layers = 1
    outer = replace_prefix(key, OUTER)
    if outer != key:
        return outer
    parts = key.split(".")
    if parts[0] == "mid_block":
        place = {"resnets": {"0": "0", "1": "2"}, "attentions": {"0": "1"}}[parts[1]][parts[2]]
        return f"middle_block.{place}." + replace_prefix(".".join(parts[3:]), INNER)
    block, kind, layer, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    down = parts[0] == "down_blocks"
    side = "input_blocks" if down else "output_blocks"
    first = block * (n_layers + 1) + (1 if down else 0)
    if kind == "downsamplers":
        return f"{side}.{first + n_layers}.0.op.{parts[-1]}"
    if kind == "upsamplers":
        place = 2 if UNET["up_block_types"][block].startswith("Cross") else 1
        return f"{side}.{first + n_layers}.{place}.conv.{parts[-1]}"
    return f"{side}.{first + layer}.{0 if kind == 'resnets' else 1}." + replace_prefix(rest, INNER)


def vae_name(key: str) -> str:
    """The name that CompVis gives to a tensor of diffusers' VAE of two levels."""
    key = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{1 - int(m[1])}", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    for ours, theirs in {
        "down_blocks": "down",
        "resnets": "block",
        "downsamplers.0": "downsample",
        "upsamplers.0": "upsample",
        "mid_block.attentions.0": "mid.attn_1",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
        "conv_norm_out": "norm_out",
        "conv_shortcut": "nin_shortcut",
    }.items():
        key = key.replace(ours, theirs)
    return key


def randomise(module: torch.nn.Module) -> None:
    """Give every tensor values of its own, the zero biases and fixed positions too."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) * 0.2)


def write_generator(folder: Path) -> Path:
    """Only the two configurations that have the sizes."""
    for name, model in (("unet", UNet2DConditionModel(**UNET)), ("vae", AutoencoderKL(**VAE))):
        (folder / name).mkdir(parents=True)
        model.save_config(folder / name)
    return folder


def stage_b() -> tuple[dict[str, torch.Tensor], UNet2DConditionModel, AutoencoderKL]:
    """A checkpoint of the second stage in the authors' layout."""
    torch.manual_seed(0)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    encoder = EEGEncoder(N_CHANS, N_TOKENS * PATCH, PATCH, WIDTH, DEPTH, HEADS)
    for module in (unet, vae, encoder):
        randomise(module)
    state = {f"model.diffusion_model.{unet_name(k)}": v for k, v in unet.state_dict().items()}
    for key, value in vae.state_dict().items():
        attention = re.search(r"attentions\.0\.to_.*weight", key)
        state[f"first_stage_model.{vae_name(key)}"] = (
            value[:, :, None, None] if attention else value
        )
    state |= {f"cond_stage_model.mae.{k}": v for k, v in encoder.state_dict().items()}
    shapes = {
        "model.diffusion_model.time_embed_condtion.0": (3, N_CONDITION, 1),
        "model.diffusion_model.time_embed_condtion.1": (1, 3, 1),
        "model.diffusion_model.time_embed_condtion.2": (TIME, CROSS),
        "cond_stage_model.channel_mapper.0": (4, N_TOKENS, 1),
        "cond_stage_model.channel_mapper.1": (N_CONDITION, 4, 1),
        "cond_stage_model.dim_mapper": (CROSS, WIDTH),
        "cond_stage_model.mapping.maxpool": (1, N_TOKENS, 1),
        "cond_stage_model.mapping.fc": (CLIP, WIDTH),
        "image_embedder.transformer.x": (3, 3),
    }
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape) * 0.2
        state[f"{name}.bias"] = torch.randn(shape[0]) * 0.2
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    state |= {"betas": beta, "alphas_cumprod": (1 - beta).cumprod(0)}
    state["cond_stage_model.mae.mask_token"] = torch.zeros(1, 1, WIDTH)
    return state, unet, vae


def save(path: Path, state: dict[str, torch.Tensor]) -> Path:
    content = {"model_state_dict": state, "config": Config(), "state": torch.get_rng_state()}
    torch.save(content, path)
    return path


def plain_tokens(state: dict[str, torch.Tensor], eeg: torch.Tensor) -> torch.Tensor:
    """Their encoder of the second stage by bare tensor arithmetic: (B, C, T) -> (B, N, D)."""
    s = {k.removeprefix("cond_stage_model.mae."): v for k, v in state.items()}

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt() * s[f"{name}.weight"] + s[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    pieces = eeg.unfold(2, PATCH, PATCH)  # (B, C, N, P)
    x = torch.einsum("bcnp,dcp->bnd", pieces, s["patch_embed.proj.weight"])
    x = x + s["patch_embed.proj.bias"] + s["pos_embed"][:, 1:]
    for i in range(DEPTH):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, -1)
        heads = []
        for h in range(HEADS):
            part = slice(h * WIDTH // HEADS, (h + 1) * WIDTH // HEADS)
            scores = q[..., part] @ k[..., part].transpose(1, 2) / (WIDTH // HEADS) ** 0.5
            heads.append(scores.softmax(-1) @ v[..., part])
        x = x + linear(torch.cat(heads, -1), f"blocks.{i}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
        x = x + linear(hidden, f"blocks.{i}.mlp.fc2")
    return norm(x, "norm")


def plain_condition(state: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Their projector: (B, N, D) -> (B, n_condition, cross)."""
    for i in (0, 1):
        name = f"cond_stage_model.channel_mapper.{i}"
        mixed = torch.einsum("on,bnd->bod", state[f"{name}.weight"][:, :, 0], tokens)
        tokens = mixed + state[f"{name}.bias"][None, :, None]
    weight, bias = (state[f"cond_stage_model.dim_mapper.{k}"] for k in ("weight", "bias"))
    return tokens @ weight.T + bias


def test_second_stage_gives_the_same_tokens_condition_and_noise(tmp_path: Path) -> None:
    state, unet, vae = stage_b()
    config = ConvertConfig(
        input=save(tmp_path / "checkpoint.pth", state),
        output=tmp_path / "out",
        generator=write_generator(tmp_path / "generator"),
        num_heads=HEADS,
    )
    folder = convert(config)
    pipe = EEGToImagePipeline.from_pretrained(folder / "model")
    eeg = np.random.default_rng(0).standard_normal((3, N_CHANS, N_TOKENS * PATCH)) * 1e-6
    names, sfreq = pipe.eeg_processor.config["ch_names"], pipe.eeg_processor.config["sfreq"]
    tokens = plain_tokens(state, torch.from_numpy(eeg * 1e6).float())
    expected = plain_condition(state, tokens)
    with torch.no_grad():
        got_tokens = pipe.encode(eeg, names, sfreq)
        got = pipe.conditioner(got_tokens)
        torch.testing.assert_close(got_tokens, tokens, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(got.encoder_hidden_states, expected, atol=1e-5, rtol=1e-5)

        head = {k: state[f"cond_stage_model.mapping.{k}"] for k in ("fc.weight", "fc.bias")}
        pool = [state[f"cond_stage_model.mapping.maxpool.{k}"] for k in ("weight", "bias")]
        pooled = torch.einsum("n,bnd->bd", pool[0][0, :, 0], tokens) + pool[1]
        clip = F.normalize(pooled @ head["fc.weight"].T + head["fc.bias"], dim=-1)
        torch.testing.assert_close(pipe.embed(eeg, names, sfreq), clip, atol=1e-5, rtol=1e-5)

        latents, time = torch.randn(3, 4, 8, 8), torch.tensor([5, 500, 900])
        x = expected
        for i in (0, 1):
            name = f"model.diffusion_model.time_embed_condtion.{i}"
            mixed = torch.einsum("on,bnd->bod", state[f"{name}.weight"][:, :, 0], x)
            x = mixed + state[f"{name}.bias"][None, :, None]
        name = "model.diffusion_model.time_embed_condtion.2"
        extra = x[:, 0] @ state[f"{name}.weight"].T + state[f"{name}.bias"]
        unet.time_embedding.register_forward_hook(lambda _module, _inputs, out: out + extra)
        theirs = unet(latents, time, expected).sample
        ours = pipe.unet(
            latents, time, got.encoder_hidden_states, class_labels=got.time_condition
        ).sample
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(pipe.vae.decode(latents).sample, vae.decode(latents).sample)

    report = json.loads((folder / "conversion.json").read_text())
    assert report["used"] + len(report["not_used"]) == report["tensors"] == len(state)
    assert set(report["not_used"]) == {
        "image_embedder.transformer.x.weight",
        "image_embedder.transformer.x.bias",
        "cond_stage_model.mae.cls_token",
        "cond_stage_model.mae.mask_token",
        "betas",
        "alphas_cumprod",
    }
    assert "unknown to this version" not in report["not_used"].values()
    assert report["other_entries"] == ["config", "state"]
    assert any(name.endswith("Config") for name in report["not_executed"])


def test_first_stage_gives_the_same_loss(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = MaskedAutoencoder(N_CHANS, N_TOKENS * PATCH, PATCH, WIDTH, DEPTH, HEADS, 1.0, 8, 1, 2)
    randomise(model)
    state = {k.removeprefix("encoder."): v for k, v in model.state_dict().items()}
    state["surplus"] = torch.zeros(1)
    content = {"model": state, "optimizer": {"lr": 1.0}, "epoch": 3, "config": Config()}
    torch.save(content, tmp_path / "checkpoint.pth")
    folder = convert(
        ConvertConfig(
            input=tmp_path / "checkpoint.pth",
            output=tmp_path / "out",
            num_heads=HEADS,
            decoder_num_heads=2,
        )
    )
    opened = MaskedAutoencoder.from_pretrained(folder / "mae")
    eeg = torch.randn(2, N_CHANS, N_TOKENS * PATCH)
    losses = [float(m(eeg, 0.75, Draw(0, 0, 2)).loss.detach()) for m in (model, opened)]
    assert losses[0] == losses[1]
    encoder = EEGEncoder.from_pretrained(folder / "encoder")
    assert torch.equal(encoder(eeg), model.encoder(eeg))
    report = json.loads((folder / "conversion.json").read_text())
    assert report["not_used"] == {"surplus": "not part of the masked autoencoder"}
    assert report["other_entries"] == ["config", "epoch", "optimizer"]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state, _, _ = stage_b()
    generator = write_generator(tmp_path / "generator")
    path = tmp_path / "checkpoint.pth"

    def attempt(**changes: object) -> None:
        config = {"input": path, "output": tmp_path / "out", "generator": generator}
        convert(ConvertConfig(**(config | {"num_heads": HEADS} | changes)))

    lost = "model.diffusion_model.middle_block.0.in_layers.0.weight"
    save(path, {k: v for k, v in state.items() if k != lost})
    with pytest.raises(ValueError, match=r"lacks 1 tensors of the U-Net.*mid_block\.resnets\.0"):
        attempt()
    save(path, state | {"cond_stage_model.dim_mapper.weight": torch.zeros(CROSS, WIDTH + 1)})
    with pytest.raises(ValueError, match=r"projector's dim_mapper\.weight has shape"):
        attempt()
    save(path, state | {"alphas_cumprod": torch.linspace(1, 0, 1000)})
    with pytest.raises(ValueError, match="alphas_cumprod"):
        attempt()
    save(path, state)
    with pytest.raises(ValueError, match="7 names, the encoder takes 6"):
        attempt(ch_names=[str(i) for i in range(7)])
    torch.save({"weights": 1}, path)
    with pytest.raises(ValueError, match="holds weights; expected"):
        attempt()
    torch.save({"model_state_dict": {"a": 3}}, path)
    with pytest.raises(ValueError, match="'a' among the weights is not a tensor"):
        attempt()
