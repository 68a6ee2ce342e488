"""Scoring of images, and the stage that decodes, scores and reports."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import shutil
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SIZE, finetune_config

from dreamdiffusion.decoders.dreamdiffusion.adapter import clip_source
from dreamdiffusion.decoders.dreamdiffusion.finetune import finetune
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.decode import decode_held_out
from dreamdiffusion.evaluation.evaluate import evaluate, noise_level
from dreamdiffusion.evaluation.held_out import choose_trials
from dreamdiffusion.evaluation.pictures import Shown
from dreamdiffusion.evaluation.scoring import Gallery, score_images
from dreamdiffusion.evidence.look_log import model_hash
from dreamdiffusion.evidence.scores import Score
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.models.judge.judge import Judge, load_judge
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

KEYS = set(Score.model_fields)
METRICS = ["category_top1", "color_top1", "clip_retrieval_top1", "ssim", "pcc"]
CATEGORIES, COLORS = ["flat", "striped"], ["red", "green"]


class Knowing(Judge):
    """Names stripes and red or green by rule, so that the truth of a picture is known."""

    def forward(self, images):
        stripes = images.diff(dim=2).abs().mean((1, 2, 3)) > 0.15
        red = images[:, 0].mean((1, 2)) > images[:, 1].mean((1, 2))
        return {
            "category": torch.stack([~stripes, stripes], 1) * 9.0,
            "color": torch.stack([red, ~red], 1) * 9.0,
        }


@pytest.fixture
def judge():
    with torch.random.fork_rng():
        return Knowing(CATEGORIES, COLORS, image_size=16, channels=[8], trained_on="a rule")


def scenes(n=20, seed=0):
    """Pictures that `Knowing` can name, each a little different."""
    rng = np.random.default_rng(seed)
    kind, color = rng.integers(2, size=n), rng.integers(2, size=n)
    pictures = torch.zeros(n, 3, 16, 16)
    for i in range(n):
        pictures[i, color[i]] = float(rng.uniform(0.7, 0.95))
        if kind[i]:
            pictures[i, :, ::2] = 1.0
            pictures[i, :, 1::4] = 0.0
        pictures[i, 2, 1::2] = float(rng.uniform(0.0, 0.1))
    metadata = {"category": [CATEGORIES[i] for i in kind], "color": [COLORS[i] for i in color]}
    return pictures, metadata


def of_control(record):
    return record["controls"]["shuffled_eeg"]["value"]


def embed(images):
    return images.flatten(1)[:, ::7] + 0.01


def scored(judge, generated, shuffled, metadata, seen, seed=0, **more):
    result = score_images(
        generated=generated, controls={"shuffled_eeg": shuffled, **more}, metadata=metadata,
        judge=judge, embed=embed, rng=np.random.default_rng(seed), seen=seen, n_permutations=199,
        n_bootstrap=200,
    )  # fmt: skip
    return dataclasses.asdict(result) | {"scores": [one.model_dump() for one in result.scores]}


def test_perfect_images_score_one(judge):
    seen, metadata = scenes()
    generated = seen[:, None].repeat(1, 3, 1, 1, 1)
    shuffled = generated.roll(1, 0)
    result = scored(judge, generated, shuffled, metadata, seen)
    assert [record["metric"] for record in result["scores"]] == METRICS
    for record in result["scores"]:
        assert set(record) == KEYS
        assert record["value"] == pytest.approx(1)
        assert record["n"] == 20
        assert record["p"] == 1 / 200
        assert record["p_corrected"] == 5 / 200
        assert of_control(record) < 1
        assert record["ci95"] == pytest.approx([1, 1])
    by = {record["metric"]: record for record in result["scores"]}
    names = np.array(metadata["category"])
    assert of_control(by["category_top1"]) == pytest.approx(np.mean(names == np.roll(names, 1)))
    assert of_control(by["clip_retrieval_top1"]) == 0
    share = np.mean(names == "flat")
    assert by["category_top1"]["chance"] == pytest.approx(share**2 + (1 - share) ** 2)
    assert by["clip_retrieval_top1"]["chance"] == pytest.approx(1 / 20)
    assert "gallery of 20" in result["protocol"]["clip_retrieval_top1"]
    assert result["judge"] == {
        "trained_on": "a rule", "category_accuracy_on_seen": 1.0, "color_accuracy_on_seen": 1.0,
    }  # fmt: skip
    counts = np.array(result["confusion"]["counts"])
    assert counts.sum() == 60
    assert np.trace(counts) == 60
    assert result["trials"]["judged_color"] == [[c] * 3 for c in metadata["color"]]
    json.dumps(result)


def test_strongest_control_is_one_without_the_brain(judge):
    """A label that was decoded may draw better pictures; a prior may not."""
    seen, metadata = scenes()
    own = seen[:, None]
    controls = {"no_eeg_prior": seen[:1].repeat(20, 1, 1, 1)[:, None], "label_only": own}
    result = scored(judge, own, own.roll(1, 0), metadata, seen, **controls)
    first = result["scores"][0]
    assert set(first["controls"]) == {"shuffled_eeg", "no_eeg_prior", "label_only"}
    assert first["controls"]["label_only"]["difference"] == 0
    prior = first["controls"]["no_eeg_prior"]["value"]
    assert prior == pytest.approx(
        np.mean([c == metadata["category"][0] for c in metadata["category"]])
    )
    strongest = max(("shuffled_eeg", "no_eeg_prior"), key=lambda k: first["controls"][k]["value"])
    assert first["strongest"] == strongest
    assert first["difference"] == pytest.approx(1 - first["controls"][strongest]["value"])
    assert "without any EEG" in result["protocol"]["no_eeg_prior"]


def test_a_control_that_knows_the_truth_is_noticed(judge):
    seen, metadata = scenes()
    result = scored(judge, seen[:, None], seen[:, None], metadata, seen)
    assert result["control_p"] == 1 / 200


def test_every_sample_counts(judge):
    seen, metadata = scenes()
    wrong = seen.roll(1, 0)
    generated = torch.stack([seen, wrong, wrong, wrong], 1)
    result = scored(judge, generated, generated, metadata, seen)
    names = np.array(metadata["category"])
    chance_hits = np.mean(names == np.roll(names, 1))
    value = result["scores"][0]["value"]
    assert value == pytest.approx(0.25 + 0.75 * chance_hits)
    retrieval = result["scores"][2]["value"]
    assert retrieval == pytest.approx(0.25)


def test_same_seed_same_result(judge):
    seen, metadata = scenes()
    g = torch.Generator().manual_seed(0)
    generated = torch.rand(20, 2, 3, 16, 16, generator=g)
    one = scored(judge, generated, generated, metadata, seen)
    assert one == scored(judge, generated, generated, metadata, seen)
    assert one["control_p"] == 1  # noise is named alike throughout, which no exchange betters
    for record in one["scores"]:
        assert record["ci95"][0] <= record["value"] <= record["ci95"][1]


def test_repeated_pictures_stand_once_in_the_gallery():
    seen, _ = scenes(6)
    gallery = Gallery.of_pictures(seen[[0, 1, 0, 2, 1]], embed)
    assert gallery.truth.tolist() == [0, 1, 0, 2, 1]
    assert len(gallery.embeddings) == 3
    torch.testing.assert_close(gallery.embeddings, embed(seen[:3]))


def test_without_pictures_seen_prototypes_are_the_gallery(judge):
    seen, metadata = scenes()
    pools = {
        name: seen[[c == name for c in metadata["category"]]] for name in CATEGORIES
    }  # fmt: skip
    generated = seen[:, None]
    result = score_images(
        generated=generated, controls={"shuffled_eeg": generated.roll(1, 0)},
        metadata={"category": metadata["category"]}, judge=judge, embed=embed, pools=pools,
        rng=np.random.default_rng(0), n_permutations=99, n_bootstrap=99,
    )  # fmt: skip
    assert [r.metric for r in result.scores] == ["category_top1", "clip_retrieval_top1"]
    assert "gallery of 2: class prototypes" in result.protocol["clip_retrieval_top1"]
    assert set(result.not_scored) == {"color_top1", "ssim", "pcc"}
    with pytest.raises(ValueError, match="no pictures of striped"):
        Gallery.of_prototypes({"flat": pools["flat"]}, metadata["category"], embed)


def test_without_a_judge_what_needs_none_is_scored():
    seen, metadata = scenes()
    wrong = seen.roll(1, 0)
    result = score_images(
        generated=torch.stack([seen, wrong, wrong, wrong], 1),
        controls={"shuffled_eeg": wrong[:, None]}, metadata=metadata, embed=embed, seen=seen,
        rng=np.random.default_rng(0), n_permutations=99, n_bootstrap=99,
    )  # fmt: skip
    assert [record.metric for record in result.scores] == ["clip_retrieval_top1", "ssim", "pcc"]
    assert result.scores[0].value == 0.25
    assert result.trials == {
        "category": metadata["category"], "clip_retrieval_top1": [0.25] * 20,
    }  # fmt: skip
    assert result.not_scored.keys() == {"category_top1", "color_top1"}
    assert "no judge" in result.not_scored["category_top1"]
    assert result.judge == result.confusion == {}


def test_unknown_category_is_named(judge):
    seen, metadata = scenes()
    metadata["category"][3] = "dotted"
    with pytest.raises(ValueError, match="does not know the category 'dotted'"):
        scored(judge, seen[:, None], seen[:, None], metadata, seen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, s: (g * 2 - 1, s), r"generated lies in \[-1"),
        (lambda g, s: (g[:, 0], s), "generated has shape"),
        (lambda g, s: (g, s[:-1]), "shuffled_eeg has shape"),
        (lambda g, s: (g, s[..., :8]), "pictures of one size"),
        (lambda g, s: (g[:5], s[:5]), "seen has shape"),
    ],
)
def test_wrong_images_are_named(judge, change, message):
    seen, metadata = scenes()
    generated, shuffled = change(seen[:, None], seen[:, None])
    with pytest.raises(ValueError, match=message):
        scored(judge, generated, shuffled, metadata, seen)


def test_choose_trials():
    split = Split([0, 1, 2], [3], [4, 5, 6], "test run 2")
    rows, description = choose_trials(split, "test", 7, None)
    assert rows.tolist() == [4, 5, 6]
    assert description == "test: test run 2"
    rows, description = choose_trials(split, "test", 7, 2)
    assert rows.tolist() == [4, 5]
    assert description == "test: test run 2; the first 2 of its 3 trials"
    assert "TRAINED ON" in choose_trials(split, "train", 7, None)[1]
    assert choose_trials(None, "new", 4, None)[0].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="names trial 6, the data have 5 trials"):
        choose_trials(split, "test", 5, None)
    with pytest.raises(ValueError, match="validation side has 1 trials"):
        choose_trials(split, "validation", 7, None)


def test_missing_judge_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; make one with"):
        load_judge(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model fine-tuned for a few steps, its trials and an untrained judge."""
    folder = tmp_path_factory.mktemp("evaluate")
    finetune(finetune_config(folder))
    write_judge(folder / "judge", ["disc", "square"])
    return folder


def write_judge(folder: Path, categories: list[str]) -> Path:
    """Write an untrained judge."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Judge(categories, image_size=SIZE, channels=[8]).save_pretrained(folder)
    return folder


def config(folder: Path, name: str, **changes) -> EvaluateConfig:
    return EvaluateConfig(
        model=folder / "finetune" / "model", data=folder / "trials", judge=folder / "judge",
        output=folder / name, batch_size=3, n_permutations=99, n_bootstrap=99,
        sample={"num_inference_steps": 2, "num_images_per_prompt": 2},
        runtime={"device": "cpu", "precision": "fp32"}, **changes,
    )  # fmt: skip


def test_evaluate_from_end_to_end(folder):
    scores, output = evaluate(config(folder, "test")), folder / "test"
    result = json.loads((output / "scores.json").read_text())
    metrics = [record["metric"] for record in result["scores"]]
    assert metrics == ["category_top1", "clip_retrieval_top1", "ssim", "pcc"]
    assert result["not_scored"].keys() == {"color_top1", "confidence"}
    assert "8 validation trials" in result["not_scored"]["confidence"]
    assert scores.model_dump(mode="json") == result
    assert [look["number"] for look in result["looks"]] == [1]
    assert result["curves"][0]["n_averaged"] == [1, 2, 4]
    assert result["occlusion"]["ch_names"] == ["C1", "C2", "C3"]
    assert result["followed"] is None
    assert set(result["scores"][0]["controls"]) == {
        "shuffled_eeg", "phase_randomised_eeg", "mean_embedding", "no_eeg_prior", "label_only",
        "nearest_training_image",
    }  # fmt: skip
    assert result["headline"]["metric"] == "category_top1"
    # The tiny pictures of a class differ in the brightness of their ground alone.
    assert [r["name"] for r in result["headline"]["reasons"]] == ["decoder_saw_the_pictures"]
    assert all(set(record) == KEYS and record["n"] == 8 for record in result["scores"])
    assert result["simulated"] is True
    assert result["split"].startswith("test: test run 3")
    baselines = {record["metric"]: record for record in result["baselines"]}
    assert baselines["lda_class_category_top1"]["value"] == 1.0  # the amplitude tells the category
    assert of_control(baselines["lda_class_category_top1"]) < 1.0
    assert "eeg_retrieval_top1" in baselines
    assert result["made"]["config"]["batch_size"] == 3
    page = (output / "report.html").read_text("utf-8")
    assert "SIMULATED EEG" in page
    assert not re.search("https?:", page)
    with Image.open(output / "gallery.png") as picture:
        assert picture.width > 300
    assert (output / "config.yaml").is_file()


def test_published_suites_and_folds(folder):
    """Two models that hold out other runs, scored as one; distances keep their sign."""
    second = finetune(
        finetune_config(
            folder, output=folder / "second",
            split={"by": "run", "test": ["1"], "validation": ["2"]},
        )
    )  # fmt: skip
    judges = {"two_way": {}, "distance": {}, "perceptual": None, "distribution": None}
    changes = {"folds": [second], "suites": ["pairwise"], "image_judges": judges, "controls": []}
    result = evaluate(config(folder, "suites", **changes))
    assert result.split.startswith("2 models, each held out others; first: test: test run 3")
    by = {record.metric: record for record in result.scores}
    assert by["category_top1"].n == 16
    assert by["mse"].lower_is_better and by["mse"].value > 0
    assert "several models" in result.not_scored["confidence"]
    assert result.occlusion is not None and result.occlusion.n == 16
    with pytest.raises(ValueError, match="trial 16 is held out by several"):
        evaluate(config(folder, "twice", folds=[folder / "finetune" / "model"]))


def test_averages_of_repeats_are_scored_as_what_they_are(folder, monkeypatch):
    """As a protocol with several repeats asks for: two trials of a picture make one."""
    trials = Trials.load(folder / "trials")
    metadata = trials.metadata
    names = {kind: f"picture-0{i}.png" for i, kind in enumerate(metadata["category"].unique())}
    metadata["run"] = np.where(np.arange(len(metadata)) % 3 == 0, "8", "9")  # sets mix the runs
    metadata["stim_file"] = metadata["category"].map(names)
    trials.save(folder / "repeated")
    asked = SimpleNamespace(repeats=SimpleNamespace(test=2))
    monkeypatch.setattr("dreamdiffusion.evaluation.opening.load_protocol", lambda name: asked)
    monkeypatch.setattr("dreamdiffusion.evaluation.opening._follow", lambda *_: None)
    averaged = config(folder, "averages", split="new", protocol="two", controls=[])
    averaged = averaged.model_copy(update={"data": folder / "repeated"})
    result = evaluate(averaged)
    assert result.scores[0].n == 12
    assert "AVERAGES of 2 trials each, 12 of them" in result.split
    assert "averages already" in result.not_scored["n_trial_curve"]
    assert "repeats averaged: 2" in result.protocol["eeg_retrieval_top1"]


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
def test_a_missing_judge_is_named_before_anything_is_drawn_or_looked_at(folder):
    changed = config(folder, "nowhere", suites=["nsd"])
    before = (folder / "finetune" / "model" / "looks.jsonl").read_text("utf-8")
    with pytest.raises(ValueError, match="needs torchvision: pip install"):
        evaluate(changed)
    assert not changed.output.exists()
    assert (folder / "finetune" / "model" / "looks.jsonl").read_text("utf-8") == before


def test_evaluate_is_reproducible(folder):
    first, second = (evaluate(config(folder, name, limit=4)) for name in ("one", "two"))
    assert first.scores == second.scores
    one, two = ((folder / name / "gallery.png").read_bytes() for name in ("one", "two"))
    assert one == two


def test_evaluate_of_a_new_recording(folder):
    trials = Trials.load(folder / "trials")
    trials.metadata["run"] = "9"
    trials.save(folder / "later")
    changes = {"split": "new", "limit": 4}
    later = config(folder, "new", **changes).model_copy(update={"data": folder / "later"})
    result = evaluate(later)
    assert [record.metric for record in result.baselines] == [
        "lda_class_category_top1",
        "lda_pooled_category_top1",
        "eeg_retrieval_top1",
    ]
    assert result.split.startswith("new: a recording that no training trial comes from")
    # The recording is new, its pictures are not.
    assert "; 4 of its 4 pictures were shown in training" in result.split
    assert result.headline.known_pictures
    with pytest.raises(ValueError, match=r"01/01/1 took part in the fine-tuning"):
        evaluate(config(folder, "old", **changes))


@pytest.mark.parametrize("how", ["unseen", "compressed", "unknown"])
def test_a_new_recording_claims_no_unseen_pictures_that_were_seen(folder, tmp_path, how):
    trials = Trials.load(folder / "trials").select(np.arange(4))
    stimuli = tmp_path / "stimuli"
    stimuli.mkdir()
    for i, path in enumerate(trials.images()):
        picture = Image.open(path)
        if how == "unseen":
            noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3)).astype(np.uint8)
            picture = Image.fromarray(noise)
        kind, options = (
            ("jpg", {"quality": 95, "subsampling": 0}) if how == "compressed" else ("png", {})
        )
        picture.save(stimuli / f"other-{i}.{kind}", **options)
    names = sorted(path.name for path in stimuli.iterdir())
    metadata = trials.metadata.assign(run="9", stim_file=names)
    new = dataclasses.replace(trials, metadata=metadata, stimuli_root=stimuli)
    new.save(tmp_path / "later")
    model = shutil.copytree(folder / "finetune" / "model", tmp_path / "model")
    (model / "adapter.json").write_text(json.dumps({"generator": str(folder / "generator")}))
    if how == "unknown":
        (model / "pictures_trained_on.safetensors").unlink()
    place = {"data": tmp_path / "later", "model": model, "output": tmp_path / "scores"}
    result = evaluate(config(folder, "x", split="new", controls=[]).model_copy(update=place))
    assert result.headline.known_pictures == (how == "compressed")
    said = {
        "unseen": "; 0 of its 4 pictures were shown in training",
        "compressed": "; 4 of its 4 pictures were shown in training",
        "unknown": "; the model does not say which pictures it was trained on",
    }
    assert said[how] in result.split


def test_judge_of_other_data_is_refused_before_decoding(folder):
    other = write_judge(folder / "other", ["cup", "fish"])
    changed = config(folder, "refused").model_copy(update={"judge": other})
    with pytest.raises(ValueError, match=r"does not know the category 'disc', 'square'.*--judge N"):
        evaluate(changed)
    missing = changed.model_copy(update={"judge": folder / "nowhere"})
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist.*--judge None"):
        evaluate(missing)
    assert not (folder / "refused").exists()


def test_evaluate_without_a_judge(folder):
    """One picture per object: no judge can know the objects; the headline needs none."""
    trials = Trials.load(folder / "trials")
    trials.metadata["category"] = trials.metadata["stim_file"].str.removesuffix(".png")
    trials.metadata["run"] = "9"
    trials.save(folder / "objects")
    without = {"judge": None, "data": folder / "objects"}
    changed = config(folder, "without", split="new", limit=8).model_copy(update=without)
    result = evaluate(changed)
    assert [record.metric for record in result.scores] == ["clip_retrieval_top1", "ssim", "pcc"]
    assert result.headline.metric == "clip_retrieval_top1"
    assert "gallery of 8: the pictures shown" in result.protocol["clip_retrieval_top1"]
    assert {record.metric for record in result.baselines} >= {"eeg_retrieval_top1"}
    assert result.not_scored.keys() >= {"category_top1", "confidence", "occlusion"}
    assert "no picture of picture-00" in result.not_scored["occlusion"]
    page = (folder / "without" / "report.html").read_text("utf-8")
    assert "there is no judge that knows the categories" in page
    assert "named right" not in page
    with Image.open(folder / "without" / "gallery.png") as picture:
        assert picture.width > 300


def test_without_a_judge_and_pictures_nothing_can_be_scored(folder):
    trials = Trials.load(folder / "trials")
    trials.metadata["category"], trials.metadata["pool"] = "disc", "."
    trials.save(folder / "one-category")
    without = {"judge": None, "data": folder / "one-category"}
    with pytest.raises(ValueError, match=r"all trials show pictures of 'disc'.*give a judge"):
        evaluate(config(folder, "nothing").model_copy(update=without))


def test_decoding_and_evaluation_take_keywords_and_write_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = config(folder, "unused", limit=4, controls=[]).model_dump(exclude={"output"})
    looks = folder / "trials" / "looks.jsonl"
    before = looks.read_text("utf-8") if looks.exists() else ""
    decoded = decode_held_out(**settings)
    assert decoded.generated.shape == (4, 2, 3, SIZE, SIZE)
    assert decoded.generated.min() >= 0 and decoded.generated.max() <= 1
    assert decoded.embeddings.norm(dim=1).tolist() == pytest.approx([1] * 4, abs=1e-5)
    assert decoded.controls.keys() == {"shuffled_eeg"}
    assert (looks.read_text("utf-8") if looks.exists() else "") == before
    scores = evaluate(**settings)
    assert scores.scores[0].n == 4
    assert "command" not in scores.made
    assert list(tmp_path.iterdir()) == []
    again = score_images(
        generated=decoded.generated, controls=decoded.controls, metadata=decoded.tested.metadata,
        embed=load_embedder(clip_source(settings["model"]), torch.device("cpu")),
        judge=load_judge(settings["judge"]), rng=np.random.default_rng(0), n_permutations=99,
        seen=Shown.of(decoded.tested, SIZE).seen, n_bootstrap=99,
    )  # fmt: skip
    assert [(one.metric, one.value) for one in again.scores] == [
        (one.metric, one.value) for one in scores.scores
    ]


def test_everything_is_opened_once(folder, monkeypatch):
    """Models, judge, CLIP, protocol, means and picture files, whatever the stages need of them."""
    calls = Counter()

    def counted(target: str):
        module, name = target.rsplit(".", 1)
        original = getattr(importlib.import_module(f"dreamdiffusion.{module}"), name)

        def call(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(f"dreamdiffusion.{target}", call)

    for target in (
        "evaluation.opening.open_image_decoder", "evaluation.opening.load_judge",
        "evaluation.opening.load_embedder", "evaluation.opening.load_protocol",
        "evaluation.opening.read_audit", "evaluation.pictures.read_images",
    ):  # fmt: skip
        counted(target)
    judges = {"two_way": {}, "distance": {}, "perceptual": None, "distribution": None}
    evaluate(config(folder, "once", suites=["pairwise"], image_judges=judges, controls=[]))
    assert calls == {
        "open_image_decoder": 1, "load_judge": 1, "load_embedder": 1, "read_audit": 1,
        "read_images": 1,
    }  # fmt: skip


def test_a_new_baseline_beside_the_model_is_scored_and_does_not_change_it(folder, tmp_path):
    model = shutil.copytree(folder / "finetune" / "model", tmp_path / "finetune" / "model")
    shutil.copytree(folder / "generator", tmp_path / "generator")
    before = model_hash(model)
    shutil.copytree(model / "baselines" / "lda_pooled", model / "baselines" / "mine")
    assert model_hash(model) == before
    changes = {"model": model, "output": tmp_path / "scores"}
    one = config(folder, "unused", limit=4, controls=[], occlusion=False)
    result = evaluate(one.model_copy(update=changes))
    value = {record.metric: record.value for record in result.baselines}
    assert value["mine_category_top1"] == value["lda_pooled_category_top1"]
    assert result.protocol["mine_category_top1"].startswith("the decoder mine, fitted on the same")


def test_noise_level_is_read_from_the_metadata(folder):
    trials = Trials.load(folder / "trials")
    assert noise_level(trials) is None
    trials.metadata["noise_level"] = 0.35
    assert noise_level(trials) == 0.35
    trials.metadata.loc[0, "noise_level"] = 0.2
    assert noise_level(trials) == [0.2, 0.35]
