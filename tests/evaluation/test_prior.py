"""The prior through `evaluate`: controls, confidence, report, and what must not be published."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments import experiment, publish, reasons, write_judge
from PIL import Image
from tiny import SIZE, caption_config, prior_config, reader_config

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.fit import fit_decoder, open_image_decoder
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.evaluation.analyses import cover, prototype_table
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.control_images import ControlPainter
from dreamdiffusion.evaluation.decode import decode_held_out
from dreamdiffusion.evaluation.evaluate import evaluate
from dreamdiffusion.evidence.controls import controls_of_kind
from dreamdiffusion.evidence.scores import Scores
from dreamdiffusion.files.schema import read_yaml
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

pytestmark = pytest.mark.global_rng  # modules that are built draw from torch's global numbers

SPLIT = {"by": "run", "test": ["0"], "validation": ["1", "2"]}


def write_bank(folder: Path) -> Path:
    """Write three pictures of each class that no trial showed."""
    for kind in range(2):
        (folder / f"class {kind}").mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng([7, kind, number]).integers(0, 256, (SIZE, SIZE, 3))
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(folder / f"class {kind}" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trials of a well-made experiment without a response, and a prior fitted on them."""
    folder = tmp_path_factory.mktemp("prior")
    publish(experiment(2), folder / "trials")
    bank = write_bank(folder / "bank")
    fit_decoder(prior_config(folder, split=SPLIT, bank=bank, output=folder / "prior", steps=2))
    return folder


def score(folder: Path, output: Path, **changes) -> Scores:
    for log in (folder / "trials", folder / "prior" / "model"):
        (log / "looks.jsonl").unlink(missing_ok=True)  # of other tests
    settings = {
        "model": folder / "prior" / "model",
        "data": folder / "trials",
        "judge": write_judge(folder / "judge"),
        "output": output,
        "n_permutations": 99,
        "n_bootstrap": 99,
        "batch_size": 64,
        "occlusion": False,
        "confidence": False,
        "controls": ["no_eeg_prior"],
        "sample": {"num_inference_steps": 2},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }
    return evaluate(EvaluateConfig(**(settings | changes)))


def test_from_end_to_end(folder: Path, tmp_path: Path) -> None:
    every = EvaluateConfig().controls
    scores = score(folder, tmp_path, confidence=True, occlusion=True, controls=every)
    assert reasons(scores) == set()
    assert scores.headline.verdict == "not above"  # two steps of training decode nothing
    first, n = scores.scores[0], scores.scores[0].n
    assert set(first.controls) == {"shuffled_eeg", *every}
    assert first.strongest in controls_of_kind("without_brain")
    assert {record.metric for record in scores.baselines} >= {
        "lda_pooled_category_top1", "eeg_retrieval_top1",
    }  # fmt: skip
    assert scores.confidence is not None and scores.confidence.n_fitted > 60
    confidence = json.loads((tmp_path / "confidence.json").read_text("utf-8"))
    assert confidence["features"][-1] == "decoder" and len(confidence["weights"]) == 7
    assert scores.occlusion is not None
    assert scores.occlusion.metric == "category that the decoder names, top-1"
    assert len(scores.curves[0].n_averaged) > 1
    starts = scores.trials["drawn_from"]
    assert len(starts) == n and all(len(row) == 1 for row in starts)
    assert starts[0][0].endswith(("class 0", "class 1")) and starts[0][0].startswith("class ")
    sample = read_yaml(tmp_path / "config.yaml")["sample"]
    assert sample == {
        "num_images_per_prompt": 1, "num_inference_steps": 2, "guidance_scale": 2.5,
        "strength": 0.5, "temperature": 0.0, "condition": "both", "seed": 0,
    }  # fmt: skip
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "the best guess, the likeliest picture of a bank of 6" in page
    assert "50% of the drawing anew" in page and "from class " in page
    assert page.count("drawn by their probability</p>") == 9  # three best, median and worst
    assert np.shape(scores.trials["judged_draws"]) == (n, 4)
    with Image.open(tmp_path / "gallery.png") as sheet:
        assert sheet.width > 3 * 6 * 112  # seen, the best guess, four draws; three times
    assert "The same EEG, drawn otherwise" in page and "draws by probability" in page


def test_settings_of_another_decoder_and_decoders_without_images_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"decoder 'prior' has no setting 'scheduler'.*it has num"):
        score(folder, tmp_path, sample={"scheduler": "ddim"})
    reader = fit_decoder(
        reader_config(folder, split=SPLIT, output=tmp_path / "reader", steps=2, checkpoint_every=2)
    )
    with pytest.raises(ValueError, match="the decoder 'reader', which gives no images"):
        score(folder, tmp_path, model=reader)
    assert not (folder / "trials" / "looks.jsonl").exists()  # nothing was scored


def test_controls_keep_nothing_of_the_trial(folder: Path) -> None:
    """Those without EEG do not look at it; those of other EEG follow that EEG alone."""
    decoder = open_image_decoder(folder / "prior" / "model")
    trials, split = (
        Trials.load(folder / "trials"),
        Split.load(folder / "prior" / "model/split.json"),
    )
    rows = split.test[:8]
    painter = ControlPainter(
        decoder=decoder, trials=trials, tested=trials.select(rows), rows=rows,
        moved=np.roll(np.arange(8), 1), train=split.train,
        sample=decoder.settings(num_inference_steps=2, strength=0.0), batch_size=5,
        label_prompt="a {category}", embed=lambda images: images.flatten(1)[:, :8],
    )  # fmt: skip
    names = ["shuffled_eeg", "mean_embedding", "no_eeg_prior"]
    before, left_out = painter.draw([*names, "label_only"])
    assert left_out.keys() == {"label_only"}
    assert len(torch.unique(before["no_eeg_prior"], dim=0)) > 1
    assert len(torch.unique(before["mean_embedding"], dim=0)) == 1  # the same for all trials
    other = painter.tested.select(painter.moved)
    torch.testing.assert_close(
        before["shuffled_eeg"], decoder.decode(other, painter.sample, rows).images
    )
    painter.tested = replace(painter.tested, data=painter.tested.data[::-1] * 3)
    after, _ = painter.draw(names)
    for name in names[1:]:
        torch.testing.assert_close(after[name], before[name])


def test_a_bank_of_the_pictures_that_were_shown(folder: Path, tmp_path: Path) -> None:
    trials = Trials.load(folder / "trials")
    shown = trials.select(Split.load(folder / "prior" / "model" / "split.json").test)
    for path, kind in zip(shown.images(), shown.metadata["category"], strict=True):
        (tmp_path / "bank" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "bank" / kind / path.name)
    config = prior_config(folder, split=SPLIT, bank=tmp_path / "bank", output=tmp_path, steps=2)
    scores = score(folder, tmp_path / "scores", model=fit_decoder(config))
    assert "bank_saw_the_pictures" in reasons(scores)
    page = (tmp_path / "scores" / "report.html").read_text("utf-8")
    assert "looked up, not reconstructed" in page


def test_a_split_that_was_changed_after_training(folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(folder / "prior", tmp_path / "prior") / "model"
    for name in ("generator", "bank"):
        shutil.copytree(folder / name, tmp_path / name)
    split = Split.load(model / "split.json")
    Split(split.test, split.validation, split.train, split.rule).save(model / "split.json")
    found = reasons(score(folder, tmp_path / "scores", model=model))
    assert {"split_changed", "scale_not_of_training"} <= found


def test_loose_channels_are_repaired_where_the_scale_is_fitted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The scale is that of repaired training trials; one of all trials is still found."""
    caplog.set_level("INFO")
    config = prior_config(
        folder, split=SPLIT, output=tmp_path / "own", steps=2, repair_channels=1.2, scale="whiten"
    )
    model = fit_decoder(config)
    assert caplog.text.count("were replaced") == 1
    caplog.clear()
    assert "scale_not_of_training" not in reasons(score(folder, tmp_path / "scores", model=model))
    assert caplog.text.count("were replaced") == 1
    trials = Trials.load(folder / "trials")
    everything = np.arange(len(trials))
    reader = Reader.load(model / "reader")
    assert not np.array_equal(reader.as_read(trials).data, trials.data)
    reader.scale_again(trials, everything).save_pretrained(model / "reader" / "eeg_processor")
    assert "scale_not_of_training" in reasons(score(folder, tmp_path / "again", model=model))


def test_a_covered_channel_is_not_repaired(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loose channels are replaced first; then what is covered is read as it is."""
    config = prior_config(
        folder, split=SPLIT, output=tmp_path / "own", steps=2, repair_channels=1.2
    )
    asked = EvaluateConfig(model=fit_decoder(config), data=folder / "trials", controls=[])
    decoded = decode_held_out(asked)
    read, answer = [], Reader.answer

    def watched(self: Reader, trials: Trials) -> Answer:
        read.append(np.array(trials.data))
        return answer(self, trials)

    monkeypatch.setattr(Reader, "answer", watched)
    categories = sorted(set(decoded.tested.metadata["category"]))
    cover(decoded, prototype_table({}, categories), categories)
    whole, *covered = read
    assert not np.array_equal(whole, decoded.tested.data)
    for channel in range(decoded.tested.n_chans):
        mean = np.broadcast_to(whole.mean(axis=0)[channel], whole[:, channel].shape)
        np.testing.assert_allclose(covered[channel][:, channel], mean, rtol=1e-6)
        others = np.delete(covered[channel], channel, axis=1)
        np.testing.assert_array_equal(others, np.delete(whole, channel, axis=1))
    decoded.read_eeg(np.asarray(decoded.tested.data))
    np.testing.assert_array_equal(read[-1], whole)  # elsewhere repaired as ever


def test_captions_go_the_same_way(folder: Path, tmp_path: Path) -> None:
    """A decoder without a bank: what it lacks is named, the rest is scored."""
    model = fit_decoder(caption_config(folder, split=SPLIT, output=tmp_path / "caption", steps=2))
    every = EvaluateConfig().controls
    scores = score(
        folder, tmp_path / "scores", model=model, confidence=True, occlusion=True, controls=every
    )
    assert reasons(scores) == set()
    assert "bank_picture" not in scores.scores[0].controls
    assert "bank_picture" not in scores.not_scored
    assert {"label_only", "nearest_training_image"} <= set(scores.scores[0].controls)
    assert scores.occlusion is not None and scores.curves
    assert "has no typical picture" in scores.not_scored["confidence"]
    assert scores.trials["drawn_from"][0][0].startswith("a ")
