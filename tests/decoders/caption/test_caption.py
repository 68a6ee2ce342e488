"""The words that the caption decoder writes, and that it draws them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import caption_config

from dreamdiffusion.decoders.caption.decoder import Caption
from dreamdiffusion.decoders.config import CaptionSampleConfig
from dreamdiffusion.decoders.fit import make_split
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.trials.trials import Trials

# A module that is built draws its first weights from torch's global numbers.
pytestmark = pytest.mark.global_rng


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Caption:
    config = caption_config(tmp_path_factory.mktemp("caption"))
    trials = Trials.load(config.data)
    return Caption.fit(trials, make_split(trials, config), config)


def test_words_by_their_probability(decoder: Caption) -> None:
    tables = {
        "category": pd.DataFrame([[0.7, 0.3, 0.0]], columns=["key", "cat", "fish"]),  # type: ignore[arg-type]
        "color": pd.DataFrame([[0.2, 0.8]], columns=["red", "blue"]),  # type: ignore[arg-type]
    }
    one = np.array([5])
    best = decoder.write(tables, CaptionSampleConfig(num_images_per_prompt=2), one)
    assert best == [["a blue key", "a blue key"]]
    many = CaptionSampleConfig(num_images_per_prompt=1000, temperature=1.0)
    drawn = decoder.write(tables, many, one)[0]
    for words, chance in (("a blue key", 0.56), ("a red key", 0.14), ("a blue cat", 0.24)):
        assert drawn.count(words) / 1000 == pytest.approx(chance, abs=0.04)
    assert not any("fish" in words for words in drawn)


def test_it_draws_what_it_says(decoder: Caption) -> None:
    trials = Trials.load(decoder.generator.parent / "trials").select(np.arange(2))
    answer = decoder.decode(trials, num_inference_steps=2)
    labels = decoder.read(trials).labels
    assert answer.drawn_from == [[f"a picture of {label}"] for label in labels or []]
    opened = PromptedGenerator.from_pretrained(decoder.generator)
    sample = decoder.settings(num_inference_steps=2)
    texts = [row[0] for row in answer.drawn_from or []]
    again = decoder.draw_texts(texts, sample, np.arange(2))
    assert answer.images is not None and opened.image_size == answer.images.shape[-1]
    torch.testing.assert_close(again, answer.images)
