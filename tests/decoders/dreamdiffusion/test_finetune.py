"""Fine-tuning: what is trained, what the losses are, resuming, and that no picture is replaced."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from tiny import SIZE, SIZES, finetune_config, write_generator, write_trials

from dreamdiffusion.decoders.augment import augment_eeg
from dreamdiffusion.decoders.dreamdiffusion.adapter import add_time_condition, cross_attention
from dreamdiffusion.decoders.dreamdiffusion.build import make_conditioner, make_encoder
from dreamdiffusion.decoders.dreamdiffusion.condition import EEGConditioner, drop_condition
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.decoders.dreamdiffusion.loss import FinetuneTask
from dreamdiffusion.decoders.dreamdiffusion.pairs import Pairs, load_pairs
from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.models.encoders.eeg import EEGEncoder
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.generator.generator import encode_images, load_generator
from dreamdiffusion.training.optimizer import trained_parameters
from dreamdiffusion.training.random_numbers import Draw
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


@pytest.fixture
def task(tmp_path: Path) -> FinetuneTask:
    config = finetune_config(tmp_path)
    trials = Trials.load(config.data)
    split = make_split(trials, config)
    generator = load_generator(config.generator)
    encoder = make_encoder(trials, config)
    processor = EEGProcessor.fit(trials, split.train, "whiten", trials.n_chans)
    add_time_condition(generator.unet)
    return FinetuneTask(
        config,
        processor(np.asarray(trials.data), trials.ch_names, trials.sfreq),
        load_pairs(trials, generator),
        split.train,
        split.validation,
        encoder,
        make_conditioner(config, encoder, generator),
        generator.unet,
        DDPMScheduler.from_config(generator.scheduler.config),
        SIZE,
    )


def test_trains_encoder_projectors_and_cross_attention_alone(task: FinetuneTask) -> None:
    trained = trained_parameters(task.modules)
    assert {name.split(".")[0] for name in trained} == {
        "encoder",
        "conditioner",
        "cross_attention",
    }
    assert len({id(p) for p in trained.values()}) == len(trained)  # none twice
    free = {name for name, p in task.unet.named_parameters() if p.requires_grad}
    assert free == {name for name, _ in task.unet.named_parameters() if ".attn2." in name}
    record = task.loss(torch.arange(4), Draw(0, 0, 4))
    record["loss"].backward()
    assert all(p.grad is None for n, p in task.unet.named_parameters() if ".attn2." not in n)
    silent = [name for name, p in trained.items() if p.grad is None]
    assert silent == []


def test_a_frozen_encoder_stays_as_pretrained_and_the_rest_is_trained(tmp_path: Path) -> None:
    """A of E+A: attention and projectors learn from what the encoder already says."""
    with pytest.raises(ValueError, match="train_encoder is false and pretrained and init are"):
        finetune(finetune_config(tmp_path, train_encoder=False))
    with torch.random.fork_rng():
        torch.manual_seed(9)
        before = EEGEncoder(n_chans=3, n_times=16, patch_size=4, embed_dim=16, depth=1, num_heads=2)
    before.save_pretrained(tmp_path / "pretrained" / "encoder")
    config = finetune_config(
        tmp_path, train_encoder=False, clip_weight=0.0, pretrained=tmp_path / "pretrained",
        optim={"lr": 0.05, "ema_decay": 0.5},
    )  # fmt: skip
    model = finetune(config)
    after = load_file(model / "eeg_encoder" / "diffusion_pytorch_model.safetensors")
    assert after.keys() == before.state_dict().keys()
    assert all(torch.equal(after[key], value) for key, value in before.state_dict().items())
    trials, generator = Trials.load(config.data), load_generator(config.generator)
    encoder = make_encoder(trials, config)
    start = make_conditioner(config, encoder, generator).state_dict()
    head = load_file(model / "conditioner" / "diffusion_pytorch_model.safetensors")
    assert not torch.equal(head["dim_mapper.weight"], start["dim_mapper.weight"])
    attention = load_file(model / "cross_attention.safetensors")
    first = cross_attention(generator.unet).state_dict()
    assert any(not torch.equal(value, first[key].half()) for key, value in attention.items())


def test_so_many_pairs_are_trained_on(tmp_path: Path) -> None:
    model = finetune(finetune_config(tmp_path, n_pairs=4))
    split = json.loads((model / "split.json").read_text("utf-8"))
    categories = Trials.load(tmp_path / "trials").metadata["category"].to_numpy()
    assert sorted(categories[split["train"]]) == ["disc", "disc", "square", "square"]
    assert "4 of 8 training trials, alike in each category (seed 0)" in split["rule"]
    assert (len(split["validation"]), len(split["test"])) == (8, 8)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_losses_against_hand_worked_values(task: FinetuneTask, kind: str) -> None:
    task.scheduler.register_to_config(prediction_type=kind)
    indices = torch.tensor([0, 3, 5, 6])
    record = task._loss(task.eeg[indices], indices, Draw(1, 2, 4), 0.0)
    draw = Draw(1, 2, 4)
    draw.rand()  # which picture: one each
    draw.rand()  # whose condition is dropped: none
    with torch.no_grad():
        tokens = task.encoder(task.eeg[indices])
        head = task.conditioner
        pooled = torch.einsum("bnd,n->bd", tokens, head.clip_pool.weight[0, :, 0])
        vector = head.clip_proj(pooled + head.clip_pool.bias)
        target = task.pairs.embeddings[indices]
        cosine = (vector * target).sum(1) / vector.norm(dim=1) / target.norm(dim=1)
        latents = task.pairs.latents[indices]
        noise = draw.randn(*latents.shape[1:])
        timesteps = draw.randint(0, 1000)
        beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        root = torch.cumprod(1 - beta, 0).sqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])  # to nothing at the end
        alpha = root.square()[timesteps].float().view(-1, 1, 1, 1)
        condition = head(tokens)
        predicted = task.unet(
            alpha.sqrt() * latents + (1 - alpha).sqrt() * noise,
            timesteps,
            encoder_hidden_states=condition.encoder_hidden_states,
            class_labels=condition.time_condition,
        ).sample
        wanted = {
            "epsilon": noise,
            "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * latents,
        }
        error = ((predicted - wanted[kind]) ** 2).mean()
    torch.testing.assert_close(record["clip"], (1 - cosine).mean(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(record["noise"], error, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(record["loss"], record["noise"] + record["clip"])


def test_condition_has_the_papers_path_and_size() -> None:
    """Appendix of the paper: 128x1024 -> 77x768, time 77 -> 38 -> 1 -> 1280, CLIP 768."""
    with torch.device("meta"):
        head = EEGConditioner()
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters() if "weight" in name}
    assert shapes == {
        "channel_mapper.0.weight": (64, 128, 1),
        "channel_mapper.1.weight": (77, 64, 1),
        "dim_mapper.weight": (768, 1024),
        "time_mapper.0.weight": (38, 77, 1),
        "time_mapper.1.weight": (1, 38, 1),
        "time_mapper.3.weight": (1280, 768),
        "clip_pool.weight": (1, 128, 1),
        "clip_proj.weight": (768, 1024),
    }


def test_dropped_condition_is_zero_and_others_stay() -> None:
    head = EEGConditioner(4, 8, 3, 6, 5, 7)
    condition = head(torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0)))
    dropped = drop_condition(condition, torch.tensor([True, False]))
    for before, after in zip(condition, dropped, strict=True):
        assert (after[0] == 0).all()
        assert torch.equal(after[1], before[1])


def test_time_condition_is_added_to_the_timestep_embedding(tmp_path: Path) -> None:
    unet = load_generator(write_generator(tmp_path / "g")).unet.eval()
    add_time_condition(unet)
    x, states = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 32)
    width = unet.time_embedding.linear_2.out_features
    seen: list[torch.Tensor] = []
    unet.mid_block.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    vector = torch.randn(1, width)
    with torch.no_grad():
        for labels in (torch.zeros(1, width), vector):
            unet(x, 10, encoder_hidden_states=states, class_labels=labels)
    torch.testing.assert_close(seen[1] - seen[0], vector, atol=1e-5, rtol=1e-5)
    unet.save_pretrained(tmp_path / "unet")
    again = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    assert again.config["class_embed_type"] == "identity"


def test_pairs_belong_to_their_pictures(tmp_path: Path) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials"))
    generator = load_generator(write_generator(tmp_path / "generator"))
    pairs = load_pairs(trials, generator)
    drawn = pairs.choose(torch.tensor([7, 2]), Draw(0, 0, 2))
    images = to_tensor(read_images([trials.images()[7], trials.images()[2]], 16, "crop"))
    expected = encode_images(generator.vae, images)
    torch.testing.assert_close(pairs.latents[drawn], expected, atol=1e-5, rtol=1e-4)
    expected = generator.clip(images)
    torch.testing.assert_close(pairs.embeddings[drawn], expected, atol=1e-5, rtol=1e-4)


def test_pairs_by_category_draw_from_the_class_only(tmp_path: Path) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials", n_trials=6))
    for name, count in (("squares", 2), ("discs", 3)):
        (tmp_path / "pools" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (16, 16), (i, i, i)).save(tmp_path / "pools" / name / f"{i}.png")
    trials.metadata["pool"] = np.where(trials.metadata["category"] == "disc", "discs", "squares")
    trials.metadata["stim_file"] = ""
    trials.stimuli_root = tmp_path / "pools"
    pairs = load_pairs(trials, load_generator(write_generator(tmp_path / "generator")))
    assert len(pairs.latents) == 5
    draws = (Draw(0, step, 2) for step in range(60))
    seen = torch.stack([pairs.choose(torch.tensor([0, 1]), draw) for draw in draws])
    assert set(seen[:, 0].tolist()) == {3, 4}  # squares, after the discs
    assert set(seen[:, 1].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("harm", ["missing folder", "missing file", "broken file", "no partner"])
def test_no_training_without_the_true_pictures(tmp_path: Path, harm: str) -> None:
    """The authors' release trained on noise images in these cases; here nothing is trained."""
    config = finetune_config(tmp_path)
    victim = tmp_path / "stimuli" / "picture-05.png"
    if harm == "missing folder":
        (tmp_path / "stimuli").rename(tmp_path / "elsewhere")
        error, message = FileNotFoundError, "stimuli does not exist"
    elif harm == "missing file":
        victim.unlink()
        error, message = FileNotFoundError, "picture-05.png"
    elif harm == "broken file":
        victim.write_bytes(victim.read_bytes()[:60])
        error, message = ValueError, "picture-05.png cannot be read"
    else:
        table = tmp_path / "trials" / "metadata.csv"
        table.write_text(table.read_text("utf-8").replace("picture-05.png", ""), "utf-8")
        error, message = ValueError, "trial 5 .* no stim_file|have no stim_file"
    with pytest.raises(error, match=message):
        finetune(config)
    assert not (config.output / "log.jsonl").exists()
    assert not list(config.output.glob("checkpoints/*"))


def test_split_is_kept_and_test_trials_are_not_touched(tmp_path: Path) -> None:
    config = finetune_config(tmp_path)
    first = load_file(finetune(config) / "eeg_encoder" / "diffusion_pytorch_model.safetensors")
    trials = Trials.load(config.data)
    data = np.array(trials.data)
    in_test = (trials.metadata["run"] == "3").to_numpy()
    data[in_test] = data[in_test][::-1] * 3
    trials.data = data
    trials.save(tmp_path / "changed")
    again = finetune(
        finetune_config(tmp_path, data=tmp_path / "changed", output=tmp_path / "second")
    )
    second = load_file(again / "eeg_encoder" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_augmentation_moves_drops_and_adds(tmp_path: Path) -> None:
    eeg = torch.arange(8.0).repeat(2, 3, 1)
    few, many = Draw(1, 0, 2), Draw(1, 0, 200)
    plain = finetune_config(tmp_path)
    assert torch.equal(augment_eeg(eeg, plain, few), eeg)
    moved = augment_eeg(eeg, plain.model_copy(update={"shift_augment": 2}), few)
    for trial in moved:
        shifts = {int(k) for k in (torch.arange(2, 6) - trial[0, 2:6]).tolist()}
        assert len(shifts) == 1 and abs(shifts.pop()) <= 2
        assert torch.equal(trial[0], trial[1])  # all channels together
    wide = torch.ones(200, 10, 4)
    kept = augment_eeg(wide, plain.model_copy(update={"channel_dropout": 0.3}), many)
    assert abs(float(kept.mean()) - 0.7) < 0.05
    assert ((kept == 0).all(2) | (kept == 1).all(2)).all()
    noisy = augment_eeg(wide, plain.model_copy(update={"noise_augment": 0.5}), many)
    assert abs(float((noisy - 1).std()) - 0.5) < 0.02


def test_kill_and_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    plain = finetune(finetune_config(tmp_path, steps=30, output=tmp_path / "plain"))
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from tiny import finetune_config\n"
        "from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune\n"
        "root = Path(sys.argv[3])\n"
        "finetune(finetune_config(root, steps=30, output=root / 'killed'))\n"
    )
    root = Path(__file__).parents[3]
    paths = [str(root / "tests" / "support"), str(root / "src")]
    command = [sys.executable, "-c", script, *paths, str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = tmp_path / "killed" / "log.jsonl"
    stop_after = int(np.random.default_rng().integers(1, 24))  # any step must do
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if log.exists() and len(log.read_text("utf-8").splitlines()) >= stop_after:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    resumed = tmp_path / "killed" / "model"
    for path in sorted(plain.rglob("*.safetensors")):
        same = resumed / path.relative_to(plain)
        assert path.read_bytes() == same.read_bytes(), f"{path.name} after a kill at {stop_after}"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_low_memory_learns_the_same(tmp_path: Path, precision: str) -> None:
    """Activations computed twice, pictures one by one: the same weights."""
    plain = finetune_config(tmp_path, runtime={"device": "cpu", "precision": precision})
    one = load_file(finetune(plain) / "cross_attention.safetensors")
    runtime = {"device": "cpu", "precision": precision, "memory": "low", "micro_batch": 2}
    config = finetune_config(tmp_path, runtime=runtime, output=tmp_path / "low")
    two = load_file(finetune(config) / "cross_attention.safetensors")
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=2e-3, rtol=1e-2)


def test_low_rank_updates_are_merged_into_the_cross_attention(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    optim = {"lr": 0.05, "clip_grad": 1.0}
    config = finetune_config(tmp_path, lora_rank=2, optim=optim)
    after = load_file(finetune(config) / "cross_attention.safetensors")
    before = cross_attention(load_generator(config.generator).unet).state_dict()
    assert after.keys() == before.keys()
    changed = [key for key in after if not torch.equal(after[key], before[key].half())]
    assert {key.split(".", 1)[1] for key in changed} == {
        f"{part}.weight" for part in ("to_q", "to_k", "to_v", "to_out.0")
    }
    for key in changed:
        sizes = torch.linalg.svdvals(after[key].float() - before[key])
        assert sizes[0] > 0.05, key
        assert sizes[2] < 0.02 * sizes[0], key  # rank two, but for the rounding of the file
    EEGToImagePipeline.from_pretrained(config.output / "model")


def test_an_encoder_of_any_montage_decodes_with_a_channel_missing(tmp_path: Path) -> None:
    config = finetune_config(
        tmp_path,
        encoder=SIZES.model_copy(update={"montage": "any"}),
        n_chans=5,
        channel_dropout=0.3,
    )
    pipe = EEGToImagePipeline.from_pretrained(finetune(config))
    assert pipe.eeg_encoder.config["n_chans"] == 5
    trials = Trials.load(config.data)
    data = np.asarray(trials.data[:2])
    whole = pipe.embed(data, trials.ch_names, trials.sfreq)
    part = pipe.embed(data[:, 1:], trials.ch_names[1:], trials.sfreq)
    assert whole.shape == part.shape and part.isfinite().all()
    assert not torch.allclose(whole, part)


def test_channels_drop_out_as_absent_and_never_all(tmp_path: Path) -> None:
    config = finetune_config(tmp_path, channel_dropout=0.5)
    dropped = augment_eeg(torch.ones(500, 3, 16), config, Draw(0, 0, 500), any_montage=True)
    there = dropped.isfinite().all(dim=2)
    assert there.any(dim=1).all()
    # 1/8 of the trials would lose all three channels and keep them instead.
    assert float(there.float().mean()) == pytest.approx(0.5 + 1 / 8, abs=0.04)


def test_mean_embedding_counts_each_picture_once() -> None:
    embeddings = torch.tensor([[1.0, 0], [3, 0], [0, 5], [0, 7]])
    # Two trials of one class (pictures 0 and 1), one trial of each other picture.
    first, count = torch.tensor([0, 0, 2, 3]), torch.tensor([2, 2, 1, 1])
    pairs = Pairs(torch.zeros(4, 1, 1, 1), embeddings, first, count)
    assert pairs.mean_embedding(np.array([0, 1])).tolist() == [2, 0]
    assert pairs.mean_embedding(np.array([1, 2])).tolist() == pytest.approx([4 / 3, 5 / 3])
    assert pairs.mean_embedding(np.array([3])).tolist() == [0, 7]


def test_a_training_in_bfloat16_validates_and_previews(tmp_path: Path) -> None:
    """Its frozen weights lie in half precision, also where no step is computed."""
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = finetune_config(
        tmp_path, runtime={"device": "cpu", "precision": "bf16", "track": "tensorboard"}
    )
    finetune(config)
    lines = (config.output / "log.jsonl").read_text(encoding="utf-8").splitlines()
    figures = [json.loads(line) for line in lines if "validation_noise" in line]
    assert figures and all(np.isfinite(entry["validation_noise"]) for entry in figures)
    (file,) = config.output.rglob("events.out.tfevents*")
    found = events.EventAccumulator(str(file))
    found.Reload()
    assert [e.step for e in found.Images("preview")] == [entry["step"] for entry in figures]


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_fine_tuning_starts_from_the_weights_of_an_earlier_one(
    tmp_path: Path, lora_rank: int
) -> None:
    first = finetune(finetune_config(tmp_path))
    still = {"lr": 1e-12, "warmup_steps": 0, "weight_decay": 0.0}
    more = {"init": first.parent, "output": tmp_path / "more", "steps": 2, "optim": still}
    again = finetune(finetune_config(tmp_path, lora_rank=lora_rank, **more))
    parts = ("eeg_encoder", "conditioner")
    files = [f"{part}/diffusion_pytorch_model.safetensors" for part in parts]
    for file in [*files, "cross_attention.safetensors"]:
        before, after = load_file(first / file), load_file(again / file)
        assert before.keys() == after.keys()
        for key, value in before.items():  # at such a rate nothing moves: it is where it began
            torch.testing.assert_close(after[key], value, atol=1e-6, rtol=1e-3)
    with pytest.raises(ValueError, match="pretrained and init both give the encoder's weights"):
        finetune(finetune_config(tmp_path, pretrained=tmp_path / "pre", **more | {"steps": 3}))
