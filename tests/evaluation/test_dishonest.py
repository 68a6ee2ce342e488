"""Results that must not be published: each ends with the headline withheld, or at chance.

Every case goes the whole way: trials on disk, `finetune`, `evaluate`, `scores.json`. The honest run
comes first and is not withheld, so that each reason below is the doing of what was planted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from experiments import blocked, experiment, publish, reasons, write_judge
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import SIZE, finetune_config

from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.pictures import read_images
from dreamdiffusion.models.encoders.processor import EEGProcessor
from dreamdiffusion.models.picture_prints import save_prints
from dreamdiffusion.report.words import REMEDIES
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

pytestmark = pytest.mark.global_rng  # modules that are built draw from torch's global numbers


def fine_tune(folder: Path, trials: Trials, acknowledge: tuple[str, ...] = (), **changes) -> Path:
    """Fine-tune for two steps with run 0 held out; return the folder of the model."""
    if not (folder / "trials").exists():
        publish(trials, folder / "trials")
    settings = {
        "steps": 2,
        "acknowledge": list(acknowledge),
        "split": {"by": "run", "test": ["0"], "validation_fraction": 0.0},
    }
    return finetune(finetune_config(folder, **(settings | changes)))


def score(folder: Path, model: Path | None = None, **changes) -> Scores:
    """Evaluate with an untrained judge; return the record as it was written."""
    settings = {
        "model": model or folder / "finetune" / "model",
        "data": folder / "trials",
        "judge": write_judge(folder / "judge"),
        "output": folder / "scores",
        "n_permutations": 199,
        "n_bootstrap": 199,
        "batch_size": 64,
        "occlusion": False,
        "confidence": False,
        "controls": ["no_eeg_prior"],
        "sample": {"num_inference_steps": 1, "num_images_per_prompt": 1},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }
    scores = evaluate(EvaluateConfig(**(settings | changes)))
    written = json.loads((folder / "scores" / "scores.json").read_text("utf-8"))
    assert Scores.model_validate(written) == scores
    return scores


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    fine_tune(folder, experiment(2))
    return folder


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    """The honest run, to be tampered with."""
    shutil.copytree(honest, tmp_path / "copy")
    for log in (tmp_path / "copy").rglob("looks.jsonl"):
        log.unlink()
    return tmp_path / "copy"


def test_an_honest_run_is_not_withheld_and_not_above(copy: Path) -> None:
    """Two steps of training decode nothing, and the headline says so."""
    scores = score(copy)
    assert reasons(scores) == set()
    assert scores.headline.verdict == "not above"
    assert not scores.headline.known_pictures
    assert "known pictures" not in (copy / "scores" / "report.html").read_text("utf-8")


def test_a_decoder_that_ignores_the_eeg_is_at_chance(copy: Path) -> None:
    """Its images are as good as they would be without a brain, which is what the headline takes."""
    model = copy / "finetune" / "model"
    path = model / "conditioner" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file({k: torch.zeros_like(t) if "mapper" in k else t for k, t in tensors.items()}, path)
    scores = score(copy, sample={"num_inference_steps": 2, "num_images_per_prompt": 2})
    assert scores.headline.verdict == "not above"
    low, high = scores.headline.difference_ci95
    assert low <= 0 <= high
    assert all(record.p > 0.05 for record in scores.scores)


def test_block_design(tmp_path: Path) -> None:
    trials = blocked(experiment(2, drift=2.0))
    with pytest.raises(ValueError, match="the audit found block_design"):
        fine_tune(tmp_path, trials)
    found = ("block_design", "drift", "fixed_order", "prestimulus_signal")
    fine_tune(tmp_path, trials, found)
    assert reasons(score(tmp_path)) == set(found)


def test_drift_as_the_signal(tmp_path: Path) -> None:
    """Each trial's offset tells its class, before the picture is shown."""
    trials = experiment(2, drift=0.0, tmin=-0.3)
    data = np.array(trials.data)
    data[trials.metadata["label"].to_numpy() == 1, 1] += 8e-6
    fine_tune(tmp_path, replace(trials, data=data), ("drift", "prestimulus_signal"))
    scores = score(tmp_path)
    assert reasons(scores) == {"drift", "prestimulus_signal"}
    assert "time_removed_eeg" in scores.scores[0].controls  # it joins where time is suspected


def test_one_order_in_all_runs(tmp_path: Path) -> None:
    trials = experiment(2, rejected=0.0)
    runs = trials.metadata["run"].to_numpy()
    first = trials.metadata[runs == "0"]
    metadata = trials.metadata.copy()
    for column in ("category", "onset"):
        metadata[column] = np.tile(first[column].to_numpy(), len(set(runs)))
    metadata["stim_file"] = [f"{i}.png" for i in range(len(metadata))]
    # One order is one draw of intervals too, and this one happens to predict the class.
    found = ("fixed_order", "event_timing")
    fine_tune(tmp_path, replace(trials, metadata=metadata), found)
    assert reasons(score(tmp_path)) == set(found)


def test_a_test_picture_in_training_under_another_name(tmp_path: Path) -> None:
    trials = experiment(2)
    publish(trials, tmp_path / "trials")
    names = trials.metadata["stim_file"].to_numpy()
    tested = (trials.metadata["run"] == "0").to_numpy()
    stimuli = tmp_path / "trials-stimuli"
    shutil.copy(stimuli / names[tested][0], stimuli / names[~tested][0])
    fine_tune(tmp_path, trials, ("shared_stimuli",))
    assert reasons(score(tmp_path)) == {"shared_stimuli"}


def test_test_pictures_in_training_mirrored_and_compressed_anew(tmp_path: Path) -> None:
    """No file is the same, so the audit has nothing to say."""
    trials = experiment(2)
    publish(trials, tmp_path / "trials")
    names = trials.metadata["stim_file"].to_numpy()
    tested = (trials.metadata["run"] == "0").to_numpy()
    stimuli = tmp_path / "trials-stimuli"
    rng = np.random.default_rng(3)
    for number, (shown, known) in enumerate(zip(names[tested][:6], names[~tested], strict=False)):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
        picture = coarse.resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(stimuli / shown)
        changed = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else picture
        changed.save(stimuli / known, format="JPEG", quality=85)
    fine_tune(tmp_path, trials)
    scores = score(tmp_path)
    assert reasons(scores) == {"decoder_saw_the_pictures"}
    n = len(set(names[tested]))
    assert f"6 of the {n} pictures that were shown" in scores.headline.reasons[0].what


@pytest.mark.parametrize("metric", ["category_top1", "clip_retrieval_top1"])
def test_known_pictures_are_claimed_as_such(tmp_path: Path, metric: str) -> None:
    """The same pictures in every run: no reason to withhold, but another claim; also unjudged."""
    trials = experiment(2)
    names = np.random.default_rng(0).integers(4, size=len(trials)).astype(str)
    kinds = trials.metadata["category"].str[-1]
    trials.metadata["stim_file"] = kinds + "-" + names + ".png"
    refused = {"by": "run", "test": ["0"]}
    with pytest.raises(ValueError, match=r"8 pictures are on two .*--split.allow_shared_stimuli"):
        fine_tune(tmp_path, trials, split=refused)
    fine_tune(tmp_path, trials, split=refused | {"allow_shared_stimuli": True})
    write_judge(tmp_path / "judge")
    shown = list(set(Trials.load(tmp_path / "trials").images()))
    for who in ("judge", "generator"):  # all of it is known, and that is what is claimed
        save_prints(tmp_path / who, read_images(shown, SIZE, "crop"))
    scores = score(tmp_path, **({} if metric == "category_top1" else {"judge": None}))
    assert reasons(scores) == set()
    assert scores.headline.known_pictures
    assert scores.headline.metric == metric
    said = (tmp_path / "scores" / "report.html").read_text("utf-8")
    assert "The claim is which of the known pictures was seen" in said


def test_a_tested_recording_that_was_trained_on_under_another_name(tmp_path: Path) -> None:
    trials = experiment(2)
    again = (trials.metadata["run"] == "0").to_numpy()
    metadata = trials.metadata[again].assign(run="9")
    metadata["stim_file"] = [f"again-{i}.png" for i in range(len(metadata))]
    doubled = replace(
        trials,
        data=np.concatenate([trials.data, trials.data[again]]),
        metadata=pd.concat([trials.metadata, metadata], ignore_index=True),
    )
    found = ("duplicate_trials", "fixed_order")
    fine_tune(tmp_path, doubled, found)
    assert "duplicate_trials" in reasons(score(tmp_path))


def test_a_tested_recording_that_is_an_inverted_copy_of_a_trained_one(tmp_path: Path) -> None:
    """Polarity and reference are others, so that no sample is the same."""
    trials = experiment(2, rejected=0.0)
    label, run = trials.metadata["label"].to_numpy(), trials.metadata["run"].to_numpy()
    data = np.array(trials.data)
    for kind in (0, 1):
        tested, trained = (np.flatnonzero((run == r) & (label == kind)) for r in ("0", "1"))
        data[tested] = data[trained].mean(axis=1, keepdims=True) - data[trained]
    found = ("duplicate_trials",)
    fine_tune(tmp_path, replace(trials, data=data), found)
    assert reasons(score(tmp_path)) == set(found)


def test_a_trigger_that_a_channel_hears(tmp_path: Path) -> None:
    """The class stands in the first 16 ms; the trials begin at onset."""
    trials = replace(experiment(2, tmin=0.0, drift=0.0), sfreq=256.0)
    data = np.array(trials.data)
    data[trials.metadata["label"].to_numpy() == 1, 1, :4] += 3e-5
    with pytest.raises(ValueError, match="the audit found early_signal"):
        fine_tune(tmp_path, replace(trials, data=data))
    fine_tune(tmp_path, replace(trials, data=data), ("early_signal",))
    assert reasons(score(tmp_path)) == {"early_signal"}


def test_a_light_sensor_behind_the_trigger(tmp_path: Path) -> None:
    """A channel that rises with one of the classes, long after onset."""
    trials = experiment(2, drift=0.0)
    data = np.array(trials.data)
    data[trials.metadata["label"].to_numpy() == 1, 1, 20:] += 2e-4
    with pytest.raises(ValueError, match="the audit found class_in_channel"):
        fine_tune(tmp_path, replace(trials, data=data))
    fine_tune(tmp_path, replace(trials, data=data), ("class_in_channel",))
    assert reasons(score(tmp_path)) == {"class_in_channel"}


def test_a_model_chosen_on_a_copy_of_the_trials(copy: Path, tmp_path: Path) -> None:
    """Another folder, another model, and the first look's logs deleted: the user's own is left."""
    assert reasons(score(copy)) == set()
    shutil.copytree(copy, tmp_path / "elsewhere")
    for log in tmp_path.rglob("looks.jsonl"):
        log.unlink()
    again = tmp_path / "elsewhere"
    second = fine_tune(again, Trials.load(again / "trials"), output=again / "second", seed=1)
    assert reasons(score(again, model=second)) == {"selection_on_test"}


def test_a_model_chosen_on_test(copy: Path) -> None:
    assert reasons(score(copy)) == set()
    trials = Trials.load(copy / "trials")
    second = fine_tune(copy, trials, output=copy / "second", seed=1)
    scores = score(copy, model=second)
    assert reasons(scores) == {"selection_on_test"}
    assert "2 different models" in scores.headline.reasons[0].what
    assert [look.number for look in scores.looks] == [1, 2]


def test_settings_chosen_on_test(copy: Path) -> None:
    score(copy)
    scores = score(copy, sample={"num_inference_steps": 2, "num_images_per_prompt": 1})
    assert reasons(scores) == {"selection_on_test"}


@pytest.mark.parametrize("side", ["train"])
def test_trials_that_were_trained_on(copy: Path, side: str) -> None:
    scores = score(copy, split=side, limit=30)
    assert reasons(scores) == {"not_held_out"}
    assert "TRAINED ON" in scores.split


@pytest.mark.parametrize("who", ["judge", "generator"])
def test_a_network_that_was_trained_on_the_pictures(copy: Path, who: str) -> None:
    trials = Trials.load(copy / "trials")
    rows = Split.load(copy / "finetune" / "model" / "split.json").test
    write_judge(copy / "judge")
    save_prints(copy / who, read_images(trials.select(rows[:5]).images(), SIZE, "crop"))
    scores = score(copy)
    assert reasons(scores) == {f"{who}_saw_the_pictures"}
    assert f"5 of the {len(rows)} pictures" in scores.headline.reasons[0].what


@pytest.mark.parametrize("who", ["judge", "generator"])
def test_a_network_that_was_trained_on_the_mirrored_pictures(copy: Path, who: str) -> None:
    trials = Trials.load(copy / "trials")
    rows = Split.load(copy / "finetune" / "model" / "split.json").test
    write_judge(copy / "judge")
    pixels = read_images(trials.select(rows[:5]).images(), SIZE, trials.picture_fit)
    save_prints(copy / who, np.ascontiguousarray(pixels[:, :, ::-1]))
    scores = score(copy)
    assert reasons(scores) == {f"{who}_saw_the_pictures"}
    what = scores.headline.reasons[0].what
    assert f"5 of the {len(rows)} pictures" in what
    assert "(5 of them cropped, mirrored or compressed anew)" in what


def test_a_scale_that_was_fitted_on_test_trials_too(copy: Path) -> None:
    trials, model = Trials.load(copy / "trials"), copy / "finetune" / "model"
    everything = np.arange(len(trials))
    own = EEGProcessor.from_pretrained(model / "eeg_processor")
    fitted = EEGProcessor.fit(trials, everything, "whiten", own.n_chans)
    fitted.save_pretrained(model / "eeg_processor")
    assert reasons(score(copy)) == {"scale_not_of_training"}


def test_a_split_that_was_changed_after_training(copy: Path) -> None:
    path = copy / "finetune" / "model" / "split.json"
    split = Split.load(path)
    moved = split.train[:20]
    Split(split.train[20:], [], np.concatenate([split.test, moved]), split.rule).save(path)
    found = reasons(score(copy))
    assert {"split_changed", "trained_on_these_trials"} <= found
    assert found <= {
        "split_changed", "trained_on_these_trials", "decoder_saw_the_pictures",
        "scale_not_of_training",
    }  # fmt: skip


def test_a_start_that_was_fitted_on_the_tested_trials(copy: Path) -> None:
    """Weights of another split, whose training side holds what is tested now."""
    trials = Trials.load(copy / "trials")
    other = {"by": "run", "test": ["1"], "validation_fraction": 0.0}
    first = fine_tune(copy, trials, output=copy / "first", split=other)
    honest = fine_tune(copy, trials, output=copy / "again", init=copy / "finetune")
    assert reasons(score(copy, model=honest)) == set()
    (copy / "trials" / "looks.jsonl").unlink()
    model = fine_tune(copy, trials, output=copy / "second", init=first)
    scores = score(copy, model=model)
    assert "trained_on_these_trials" in reasons(scores)
    what = {reason.name: reason.what for reason in scores.headline.reasons}
    n = len(Split.load(model / "split.json").test)
    assert f"{n} of the {n} trials that are scored" in what["trained_on_these_trials"]


def test_a_recording_of_training_that_is_called_new(copy: Path, tmp_path: Path) -> None:
    """Another person's name on a recording that the model was trained on."""
    trials = Trials.load(copy / "trials")
    for run, expected in (("2", {"trained_on_these_trials"}), ("0", set())):
        part = trials.select(np.flatnonzero(trials.metadata["run"] == run))
        metadata = part.metadata.assign(subject="other", stim_file="0.png")
        folder = tmp_path / run
        replace(part, metadata=metadata).save(folder / "trials")
        scores = score(folder, model=copy / "finetune" / "model", split="new")
        assert expected == reasons(scores) & {"trained_on_these_trials"}


def test_trials_that_were_never_audited(copy: Path) -> None:
    (copy / "finetune" / "model" / "audit.json").unlink()
    assert reasons(score(copy)) == {"not_audited"}


def test_every_reason_that_is_not_the_audits_has_a_remedy_in_the_report() -> None:
    assert {
        "selection_on_test", "not_held_out", "judge_saw_the_pictures", "generator_saw_the_pictures",
        "scale_not_of_training", "split_changed", "not_audited", "control_above_chance",
        "rests_on_time", "trained_on_these_trials", "bank_saw_the_pictures",
        "decoder_saw_the_pictures",
    } <= set(REMEDIES)  # fmt: skip
