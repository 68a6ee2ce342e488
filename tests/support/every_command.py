"""Every command once, at tiny sizes: what it is given, and what is typed."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from PIL import Image
from tiny import SIZE, SIZES, finetune_config, write_generator, write_trials

from dreamdiffusion.datasets.config import SimulateConfig
from dreamdiffusion.datasets.prepare import prepare
from dreamdiffusion.datasets.simulation.bids import simulate
from dreamdiffusion.decoders.config import LdaConfig
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.fit import fit_decoder
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.models.config import PretrainConfig
from dreamdiffusion.models.encoders.mae import MaskedAutoencoder
from dreamdiffusion.models.encoders.pretrain import pretrain
from dreamdiffusion.models.judge.judge import Judge
from dreamdiffusion.trials.config import PrepareConfig

CPU = {"device": "cpu", "precision": "fp32"}
SPLIT = {"by": "run", "test": ["3"], "validation": ["2"]}
SHORT = {"steps": 2, "batch_size": 8, "runtime": CPU}
COMPACT = {"n_temporal": 8, "embed_dim": 16}
DRAWING = {"num_inference_steps": 1, "num_images_per_prompt": 1}


def write_inputs(root: Path) -> Path:
    """Write what the commands are given: recordings, trials, windows, networks, pictures."""
    simulate(SimulateConfig(output=root / "bids", montage="muse4", n_runs=1, trials_per_run=24))
    signal = {"l_freq": 1.0}
    prepare(
        PrepareConfig(
            input=[root / "bids"], output=root / "windows", kind="windows", signal=signal,
            window_s=0.25, window_stride_s=0.25,
        )
    )  # fmt: skip
    write_trials(root / "trials")
    write_generator(root / "generator")
    for name, color in (("disc", "blue"), ("square", "red")):
        (root / "pictures" / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.new("RGB", (SIZE, SIZE), (10 * number, 10, 10))
            picture.paste(color, (4, number, 12, 12))
            picture.save(root / "pictures" / name / f"{number}.png")
    rows = [f"{2 + i},{kind}/{i}.png,{kind}" for i, kind in enumerate(["disc", "square"])]
    (root / "shown.csv").write_text("onset,picture,label\n" + "\n".join(rows) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Judge(["disc", "square"], [], image_size=SIZE, channels=[8], trained_on="nothing")
        model = MaskedAutoencoder(4, 16, 4, 16, 1, 2, 1.0, 16, 1, 2)
    judge.save_pretrained(root / "judge")
    state = {name.removeprefix("encoder."): value for name, value in model.state_dict().items()}
    torch.save({"model": state}, root / "checkpoint.pth")
    pretrain(
        PretrainConfig(data=root / "windows", output=root / "pretrained", encoder=SIZES, **SHORT)
    )
    finetune(finetune_config(root, output=root / "finetuned", steps=2))
    fit_decoder(LdaConfig(data=root / "trials", output=root / "lda", split=SPLIT))
    return root


def write_weights(root: Path) -> Path:
    """Write what `demo` decodes with: a model of simulated EEG, its recipe, and a judge of it."""
    recording = root / "bids"
    trials = prepare(
        PrepareConfig(input=[recording], output=root / "scenes", signal={"l_freq": 1.0})
    )
    fraction = {"validation_fraction": 0.0}
    config = finetune_config(root, data=trials, output=root / "demo-model", steps=2, split=fraction)
    model = finetune(config)
    weights = root / "weights"
    weights.mkdir()
    model.rename(weights / "eeg-scenes")
    adapter = {"generator": "../../generator"}
    (weights / "eeg-scenes" / "adapter.json").unlink()
    write_json(weights / "eeg-scenes" / "adapter.json", adapter)
    write_json(
        weights / "eeg-scenes" / "recording.json",
        {"montage": "muse4", "n_runs": 1, "trials_per_run": 24, "noise_level": 0.3},
    )
    from dreamdiffusion.datasets.simulation.scenes import CATEGORIES, COLORS

    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Judge(list(CATEGORIES), list(COLORS), image_size=SIZE, channels=[8])
    judge.save_pretrained(weights / "judge")
    return weights


def command_lines(root: Path, output: Path) -> dict[str, list[str]]:
    """Return what is typed behind each command; each writes below ``output``.

    Parameters
    ----------
    root
        Of `write_inputs`, and for `demo` of `write_weights`.
    """
    fit = {"data": root / "trials", "split": SPLIT}
    reader = {**fit, **SHORT, "clip": root / "generator" / "clip", "compact": COMPACT}
    scoring = {
        "judge": root / "judge", "n_permutations": 50, "n_bootstrap": 50, "sample": DRAWING,
        "runtime": CPU,
    }  # fmt: skip
    tuning = {**fit, **SHORT, "generator": root / "generator", "encoder": SIZES.model_dump(),
              "n_condition_tokens": 4}  # fmt: skip
    settings: dict[str, dict] = {
        "simulate": {"montage": "muse4", "n_runs": 1, "trials_per_run": 24},
        "prepare": {"input": [root / "bids"], "signal": {"l_freq": 1.0}},
        "audit": {"data": root / "trials", "split": SPLIT},
        "pretrain": {"data": root / "windows", "encoder": SIZES.model_dump(), **SHORT},
        "train-generator": {
            "n_scenes": 16, "image_size": 32, "unet_train": SHORT,
            "clip": {"width": 32, "layers": 1, "heads": 2, "projection_dim": 8, "vocab_size": 700},
            "vae": {"channels": [16, 16, 16]},
            "unet": {"channels": [32, 32], "layers_per_block": 1, "heads": 2},
            "clip_train": SHORT, "clip_image_train": SHORT, "vae_train": SHORT,
        },
        "train-judge": {"data": root / "pictures", "image_size": SIZE, **SHORT},
        "finetune": tuning,
        "fit lda": fit,
        "fit encoding": fit,
        "fit reader": reader,
        "fit caption": {**reader, "generator": root / "generator"},
        "fit prior": {
            **reader, "bank_size": 8, "image_size": SIZE, "generator": root / "generator",
        },
        "convert": {"input": root / "checkpoint.pth", "num_heads": 2, "decoder_num_heads": 2},
        "generate": {
            "model": root / "finetuned" / "model", "data": root / "trials", "limit": 2,
            "sample": DRAWING, "runtime": CPU,
        },
        "decode": {"model": root / "lda" / "model", "data": root / "trials", "device": "cpu"},
        "evaluate": {
            "model": root / "finetuned" / "model", "data": root / "trials", **scoring,
        },
        "ablate": {
            "fit": {"decoder": "dreamdiffusion", **tuning}, "evaluate": scoring, "seeds": [0],
        },
        "demo": {
            "decoder": "dreamdiffusion", "weights": root / "weights", "trials": 24, "runtime": CPU,
        },
    }  # fmt: skip
    recording = str(next((root / "bids").rglob("*_eeg.edf")))
    shown = [
        recording, "--pictures", str(root / "pictures"), "--events", str(root / "shown.csv"),
    ]  # fmt: skip
    lines = {
        "bids": [*shown, "--output", str(output / "bids")],
        "run": [*shown, "--output", str(output / "run")],
        "live": ["--output", str(output / "live")],
        "inspect": [recording, "--picture", str(output / "inspect.png")],
        "datasets": ["list"],
        "protocols": ["list"],
        "stimulate": ["--output", str(output / "stimulate")],
        "app": [],
        "info": [str(root / "trials")],
        "completion": ["bash"],
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    for name, content in settings.items():
        folder = output / name.replace(" ", "-")
        path = folder.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(_plain({**content, "output": folder})), "utf-8")
        lines[name] = ["--config", str(path)]
    return lines


def has_own_tests(command: str) -> bool:
    """Whether a command has tests of its own, as those that wait for a stream or a browser."""
    tests = Path(__file__).parents[1] / "cli"
    return (tests / command).is_dir() or (tests / f"test_{command}.py").is_file()


def _plain(value: object) -> object:
    """Return what YAML holds: paths as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
