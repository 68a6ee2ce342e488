"""The authors' checkpoints -> our folders: a masked autoencoder, or a whole pipeline.

The layout of their files is in docs/convert.md. The files are untrusted and read by
:mod:`dreamdiffusion.files.torch_file`, which executes nothing. Every tensor is either used, and the
networks load whole or not at all, or listed with the reason why it is not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from dreamdiffusion.decoders.config import ConvertConfig
from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.files.output import writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.torch_file import StoredTensor, TorchFile
from dreamdiffusion.files.whole import whole_folder, write_json
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import NOISE_SCHEDULE, SCHEDULERS

UNET = "model.diffusion_model."
TIME = UNET + "time_embed_condtion."  # the misspelling is the authors'
VAE = "first_stage_model."
MAE = "cond_stage_model.mae."
CONDITION = "cond_stage_model."

SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD15_VAE: dict[str, Any] = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
CONDITIONER_NAMES = {
    "channel_mapper.": "channel_mapper.",
    "dim_mapper.": "dim_mapper.",
    "mapping.maxpool.": "clip_pool.",
    "mapping.fc.": "clip_proj.",
}
TIME_NAMES = {"0.": "0.", "1.": "1.", "2.": "3."}  # ours flattens between
NOT_NEEDED = {
    "image_embedder.": "the CLIP that training aligned to; drawing does not need it",
    "model_ema.": "running averages; the weights themselves are used",
    MAE + "mask_token": "the encoder of this stage hides nothing",
    MAE + "cls_token": "the encoder of this stage runs without it",
}
SCHEDULE_BUFFERS = ("alphas", "betas", "log_one_minus", "posterior_", "sqrt_", "lvlb", "logvar")

State = dict[str, torch.Tensor]


@writes_output()
def convert(config: ConvertConfig) -> Path:
    """Read a checkpoint of either stage and write it in our format.

    Returns
    -------
    Path
        ``config.output``. From the first stage: ``encoder`` and ``mae``, as `pretrain` leaves them.
        From the second: ``model``, which `EEGToImagePipeline.from_pretrained` opens. Both with
        ``conversion.json``: what was used, and what was not, and why.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing, damaged, of another layout, or lacks a tensor.
    """
    file = TorchFile(config.input)
    content = file.content if isinstance(file.content, Mapping) else {}
    config.output.mkdir(parents=True, exist_ok=True)
    if isinstance(content.get("model_state_dict"), Mapping):
        unused = _convert_pipeline(_read(file, content["model_state_dict"]), config)
        kind, state = "pipeline", "model_state_dict"
    elif isinstance(content.get("model"), Mapping):
        if config.generator is not None:
            raise ValueError(
                f"{config.input} is of the first stage, which has no generator; leave --generator "
                f"{config.generator} out"
            )
        unused = _convert_mae(_read(file, content["model"]), config)
        kind, state = "masked autoencoder", "model"
    else:
        raise ValueError(
            f"{config.input} holds {', '.join(map(str, content)) or type(file.content).__name__}; "
            "expected a mapping with model (first stage) or model_state_dict (second stage)"
        )
    report = {
        "kind": kind,
        "tensors": len(content[state]),
        "used": len(content[state]) - len(unused),
        "not_used": unused,
        "other_entries": sorted(str(key) for key in content if key != state),
        "not_executed": file.ignored,
    }
    write_yaml(config, config.output / "config.yaml")
    write_json(config.output / "conversion.json", report)
    _tell(report)
    return config.output


def _tell(report: dict[str, Any]) -> None:
    lines = [f"{report['kind']}: {report['used']} of {report['tensors']} tensors used"]
    reasons: dict[str, int] = {}
    for reason in report["not_used"].values():
        reasons[reason] = reasons.get(reason, 0) + 1
    lines += [f"  {n} not used: {reason}" for reason, n in reasons.items()]
    lines += [f"  entry not used: {name}" for name in report["other_entries"]]
    lines += [f"  named in the file, not executed: {name}" for name in report["not_executed"]]
    print("\n".join(lines), file=sys.stderr)


def _read(file: TorchFile, entries: Mapping[Any, Any]) -> State:
    odd = [key for key, value in entries.items() if not isinstance(value, StoredTensor)]
    if odd:
        raise ValueError(f"{file.path}: {odd[0]!r} among the weights is not a tensor")
    return {str(key): file.read(value) for key, value in entries.items()}


def _part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}


def _load(module: nn.Module, tensors: State, what: str) -> None:
    """Load weights into a module, all of them, each of the right shape."""
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} tensors of the {what}: {missing[:4]}"
        )
    for key, value in wanted.items():
        if tensors[key].shape != value.shape:
            raise ValueError(
                f"the {what}'s {key} has shape {tuple(tensors[key].shape)} in the checkpoint, "
                f"expected {tuple(value.shape)}"
            )
    module.load_state_dict({key: tensors[key] for key in wanted})


def _sizes(state: State) -> dict[str, Any]:
    """Return the encoder's sizes, read from the shapes of its tensors."""
    try:
        embed_dim, n_chans, patch_size = state["patch_embed.proj.weight"].shape
        n_tokens = state["pos_embed"].shape[1] - 1
        mlp_ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / embed_dim
    except (KeyError, ValueError) as error:
        raise ValueError(f"the checkpoint holds no EEG encoder as expected: {error}") from error
    return {
        "n_chans": n_chans,
        "n_times": n_tokens * patch_size,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depth": _count(state, "blocks."),
        "mlp_ratio": mlp_ratio,
    }


def _count(state: State, prefix: str) -> int:
    return len({k.split(".")[1] for k in state if k.startswith(prefix)})


def _convert_mae(state: State, config: ConvertConfig) -> dict[str, str]:
    state = {key: value.float() for key, value in state.items()}
    sizes = _sizes(state)
    if "decoder_embed.weight" not in state:
        raise ValueError("the checkpoint lacks decoder_embed.weight, so it is no first stage")
    model = MaskedAutoencoder(
        **sizes,
        num_heads=config.num_heads,
        decoder_embed_dim=state["decoder_embed.weight"].shape[0],
        decoder_depth=_count(state, "decoder_blocks."),
        decoder_num_heads=config.decoder_num_heads,
    )
    ours = model.state_dict()
    theirs = {key: key if key in ours else f"encoder.{key}" for key in state}
    _load(model, {theirs[key]: value for key, value in state.items()}, "masked autoencoder")
    for name, part in (("mae", model), ("encoder", model.encoder)):
        with whole_folder(config.output / name) as folder:
            part.save_pretrained(folder)
    return {key: "not part of the masked autoencoder" for key in state if theirs[key] not in ours}


def _convert_pipeline(state: State, config: ConvertConfig) -> dict[str, str]:
    _check_schedule(state)
    mae = _part(state, MAE)
    sizes = _sizes(mae)
    encoder = EEGEncoder(**sizes, num_heads=config.num_heads, use_cls_token=False)
    _load(encoder, mae, "encoder")
    used = {MAE + key for key in encoder.state_dict()}

    condition = _renamed(state, CONDITION, CONDITIONER_NAMES)
    condition |= {f"time_mapper.{k}": v for k, v in _renamed(state, TIME, TIME_NAMES).items()}
    conditioner = _build_conditioner(encoder, {k: v for k, (_, v) in condition.items()})
    used |= {key for key, _ in condition.values()}

    unet_config = _config_of(config.generator, "unet", SD15_UNET)
    vae_config = _config_of(config.generator, "vae", SD15_VAE)
    unet: Any = UNet2DConditionModel.from_config(unet_config)
    vae: Any = AutoencoderKL.from_config(vae_config)
    with_unet = {k: v.float() for k, v in state.items() if k.startswith(UNET)}
    with_vae = {k: v.float() for k, v in state.items() if k.startswith(VAE)}
    used |= _load_ldm(
        unet, convert_ldm_unet_checkpoint(dict(with_unet), dict(unet.config)), with_unet, "U-Net"
    )
    used |= _load_ldm(
        vae, convert_ldm_vae_checkpoint(dict(with_vae), dict(vae.config)), with_vae, "VAE"
    )
    add_time_condition(unet)
    pipeline = EEGToImagePipeline(
        _processor(sizes, config), encoder, conditioner, vae, unet, _plms()
    )
    with whole_folder(config.output / "model") as folder:
        pipeline.save_pretrained(folder)
    return {key: _reason(key) for key in state if key not in used}


def _renamed(
    state: State, prefix: str, names: dict[str, str]
) -> dict[str, tuple[str, torch.Tensor]]:
    """Return tensors by our names, each with its name in the file."""
    return {
        ours + key.removeprefix(prefix + theirs): (key, value.float())
        for key, value in state.items()
        for theirs, ours in names.items()
        if key.startswith(prefix + theirs)
    }


def _build_conditioner(encoder: EEGEncoder, tensors: State) -> EEGConditioner:
    try:
        conditioner = EEGConditioner(
            n_tokens=encoder.n_tokens,
            embed_dim=encoder.embed_dim,
            n_condition_tokens=tensors["channel_mapper.1.weight"].shape[0],
            cross_attention_dim=tensors["dim_mapper.weight"].shape[0],
            time_embed_dim=tensors["time_mapper.3.weight"].shape[0],
            clip_dim=tensors["clip_proj.weight"].shape[0],
        )
    except KeyError as error:
        raise ValueError(f"the checkpoint lacks the projector's {error}") from error
    _load(conditioner, tensors, "projector")
    return conditioner


def _load_ldm(module: nn.Module, converted: State, source: State, what: str) -> set[str]:
    """Load what diffusers renamed; return which tensors of the file that used."""
    _load(module, converted, what)
    places = {converted[key].data_ptr() for key in module.state_dict()}
    return {key for key, value in source.items() if value.data_ptr() in places}


def _config_of(generator: Path | None, part: str, default: dict[str, Any]) -> dict[str, Any]:
    if generator is None:
        return default
    path = generator / part / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"generator {generator} has no {part}/config.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _processor(sizes: dict[str, Any], config: ConvertConfig) -> EEGProcessor:
    n_chans = sizes["n_chans"]
    names = config.ch_names or [f"EEG {i:03d}" for i in range(1, n_chans + 1)]
    if len(names) > n_chans:
        raise ValueError(f"ch_names has {len(names)} names, the encoder takes {n_chans} channels")
    processor = EEGProcessor(
        ch_names=names,
        sfreq=config.sfreq,
        n_times=sizes["n_times"],
        tmin=config.tmin,
        n_chans=n_chans,
        scale="unit",
    )
    # The release feeds the second stage the data set's own numbers.
    processor.matrix.copy_(torch.eye(len(names)) / config.unit)
    return processor


def _plms() -> Any:
    """Return the paper's sampler, on the noise schedule of Stable Diffusion 1.5."""
    kind, options = SCHEDULERS["plms"]
    return kind(**NOISE_SCHEDULE, **options)


def _check_schedule(state: State) -> None:
    theirs = state.get("alphas_cumprod")
    ours = _plms().alphas_cumprod
    if theirs is not None and (
        theirs.shape != ours.shape or not torch.allclose(theirs.float(), ours, atol=1e-4)
    ):
        raise ValueError("the checkpoint's alphas_cumprod are not those of Stable Diffusion 1.5")


def _reason(key: str) -> str:
    for prefix, reason in NOT_NEEDED.items():
        if key.startswith(prefix):
            return reason
    if key.startswith(SCHEDULE_BUFFERS):
        return "Stable Diffusion's noise schedule, which the scheduler computes"
    return "unknown to this version"
