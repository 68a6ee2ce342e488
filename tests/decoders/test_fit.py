"""`fit` and `decode` by keywords: what they write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import SIZES, write_generator, write_trials

from dreamdiffusion.decoders.dreamdiffusion.pipeline import EEGToImagePipeline
from dreamdiffusion.decoders.fit import decode, fit, load_decoder
from dreamdiffusion.trials.splits import Split, split_by
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng

RULE = {"by": "run", "test": ["3"], "validation": ["2"]}


def test_a_folder_a_rule_and_a_name_are_enough(tmp_path: Path) -> None:
    folder = write_trials(tmp_path / "trials")
    lda = fit(folder, split=RULE, decoder="lda", output=tmp_path / "lda", covariance="class")
    trials = Trials.load(folder)
    split = Split.load(tmp_path / "lda" / "model" / "split.json")
    assert set(trials.metadata["run"].iloc[split.test]) == {"3"}
    test = trials.select(split.test)
    answer = decode(tmp_path / "lda" / "model", test)
    with pytest.raises(ValueError, match="holds the decoder 'lda', which is no pipeline"):
        EEGToImagePipeline.from_pretrained(tmp_path / "lda" / "model")
    assert answer.labels == lda.decode(test).labels
    assert np.mean(np.array(answer.labels) == test.metadata["category"].to_numpy()) == 1.0
    about = json.loads((tmp_path / "lda" / "model" / "about.json").read_text("utf-8"))
    assert about["n_train"] == len(split.train) and about["simulated"]


def test_trials_and_split_in_memory_are_written_down(tmp_path: Path) -> None:
    trials = Trials.load(write_trials(tmp_path / "trials"))
    split = split_by(trials.metadata, "run", ["3"], ["2"], 0)
    settings = {"decoder": "lda", "output": tmp_path / "fit"}
    first = fit(trials, split, **settings)
    assert Split.load(tmp_path / "fit" / "model" / "split.json").sha256 == split.sha256
    kept = Trials.load(tmp_path / "fit" / "trials")
    assert kept.images() == trials.images()
    again = fit(trials, split, **settings)  # the same, so it may be done again
    assert decode(again, kept).labels == first.decode(trials).labels
    other = split_by(trials.metadata, "run", ["1"], ["2"], 0)
    with pytest.raises(ValueError, match=r"split\.json is the split of another fit"):
        fit(trials, other, **settings)
    trials.data = np.array(trials.data) * 2
    with pytest.raises(ValueError, match="holds the trials of another fit"):
        fit(trials, split, **settings)


def test_dreamdiffusion_by_keywords(tmp_path: Path) -> None:
    trials = write_trials(tmp_path / "trials")
    model = fit(
        trials, split=RULE, generator=write_generator(tmp_path / "generator"),
        output=tmp_path / "fit", steps=2, batch_size=4, encoder=SIZES, n_condition_tokens=4,
    )  # fmt: skip
    few = Trials.load(trials).select(np.arange(2))
    settings = {"num_inference_steps": 2, "num_images_per_prompt": 3}
    one = decode(model, few, **settings, seed=1)
    assert one.images is not None and one.images.shape == (2, 3, 3, 16, 16)
    two = decode(tmp_path / "fit" / "model", few, device="cpu", **settings, seed=2)
    assert two.images is not None and not np.array_equal(one.images, two.images)
    with pytest.raises(TypeError, match=r"step' .*; did you mean num_inference_steps"):
        decode(model, few, num_inference_step=3)


def test_what_is_not_understood_is_named(tmp_path: Path) -> None:
    trials = write_trials(tmp_path / "trials")
    with pytest.raises(KeyError, match="unknown decoder 'ldaa'; did you mean lda"):
        fit(trials, decoder="ldaa")
    with pytest.raises(TypeError, match="fit has no setting 'widths'; did you mean width_s"):
        fit(trials, decoder="lda", widths=0.1)
    with pytest.raises(TypeError, match="fit takes no 'data'; give trials"):
        fit(trials, decoder="lda", data=trials)
    with pytest.raises(FileNotFoundError, match="holds no decoder"):
        load_decoder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no model folder .*nowhere"):
        load_decoder(tmp_path / "nowhere")
    (tmp_path / "a fit" / "model").mkdir(parents=True)
    (tmp_path / "a fit" / "model" / "decoder.json").write_text("{}", "utf-8")
    with pytest.raises(FileNotFoundError, match=r"the decoder in .*a fit is .*a fit.model; give"):
        load_decoder(tmp_path / "a fit")
    with pytest.raises(ValueError, match="the unknown decoder 'mind-vis'"):
        (tmp_path / "decoder.json").write_text('{"decoder": "mind-vis"}', "utf-8")
        load_decoder(tmp_path)
