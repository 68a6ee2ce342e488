"""The tokens of captions: known merges by hand, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from dreamdiffusion.models.config import ClipSizes
from dreamdiffusion.models.generator.vocabulary import learn_merges, train_tokenizer

CAPTIONS = ["a red cat at night", "a blue cat", "the red sun, left", "Ein Käfer's Bein"]


def test_merges_by_hand() -> None:
    # low x 3, lower x 1: l-o is in 4 words, then lo-w at the end in 3, then by the alphabet.
    words = Counter({"low": 3, "lower": 1})
    assert learn_merges(words, 3) == [("l", "o"), ("lo", "w</w>"), ("e", "r</w>")]
    assert learn_merges(words, 99)[3:] == [("lo", "w"), ("low", "er</w>")]
    assert learn_merges(Counter({"aaaa": 1}), 1) == [("a", "a")]
    assert learn_merges(Counter({"a": 5}), 9) == []


def test_text_comes_back_and_words_are_one_token() -> None:
    tokenizer = train_tokenizer(CAPTIONS, ClipSizes(max_length=16, vocab_size=2000))
    assert tokenizer.tokenize("a red cat") == ["a</w>", "red</w>", "cat</w>"]
    unknown = "a zebra & Ω"
    assert tokenizer.unk_token not in tokenizer.tokenize(unknown)  # bytes are always known
    ids = tokenizer(CAPTIONS[2], padding="max_length", max_length=16).input_ids
    assert len(ids) == 16 and ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the red sun , left"


@pytest.mark.parametrize("size", [2, 520])
def test_no_more_tokens_than_asked_for_but_all_bytes(size: int) -> None:
    assert len(train_tokenizer(CAPTIONS, ClipSizes(vocab_size=size))) == max(size, 514)


def test_another_process_learns_the_same_tokens() -> None:
    """A training that was stopped goes on in another process."""
    code = (
        "from dreamdiffusion.models.config import ClipSizes\n"
        "from dreamdiffusion.models.generator.vocabulary import train_tokenizer\n"
        f"tokenizer = train_tokenizer({CAPTIONS!r}, ClipSizes(vocab_size=560))\n"
        "print(tokenizer.backend_tokenizer.to_str())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1 and '"cat</w>"' in found.pop()
