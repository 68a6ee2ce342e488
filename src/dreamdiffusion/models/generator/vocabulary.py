"""CLIP's byte-pair encoding, learned from captions: the same captions give the same tokens.

The trainer of the tokenizers library numbers ends of words in the order of a hash table, which is
another one in every process, and breaks ties by these numbers. A training that is stopped would go
on with other tokens than its text tower has learned.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from dreamdiffusion.models.config import ClipSizes

END = "</w>"
"""Of the last token of a word."""


def train_tokenizer(captions: Iterable[str], sizes: ClipSizes) -> CLIPTokenizer:
    """Return a tokenizer of CLIP's kind: all bytes, all bytes at the end of a word, and merges.

    Parameters
    ----------
    captions
        Each counts once, in whatever order.
    sizes
        ``vocab_size`` is the most tokens there are, if there are more than bytes.
    """
    untrained = CLIPTokenizer()
    backend = untrained.backend_tokenizer
    words: Counter[str] = Counter()
    for caption in set(captions):
        text = backend.normalizer.normalize_str(caption)
        words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [untrained.bos_token, untrained.eos_token, *alphabet, *(one + END for one in alphabet)]
    merges = learn_merges(words, max(0, sizes.vocab_size - len(tokens)))
    tokens += [one + other for one, other in merges]
    numbered = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=numbered, merges=merges, model_max_length=sizes.max_length)  # pyright: ignore[reportArgumentType]


def learn_merges(words: Counter[str], n_merges: int) -> list[tuple[str, str]]:
    """Return which two tokens become one, the most frequent pair first (Sennrich et al. 2016).

    Of pairs that are equally frequent the first of the alphabet comes first. Ends where every word
    is one token.

    Parameters
    ----------
    words
        How often each word comes.
    n_merges
        At most.
    """
    split = [([*word[:-1], word[-1] + END], count) for word, count in sorted(words.items())]
    frequency: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)

    def count_pairs(number: int, sign: int) -> None:
        tokens, count = split[number]
        for pair in itertools.pairwise(tokens):
            frequency[pair] += sign * count
            places[pair].add(number)

    for number in range(len(split)):
        count_pairs(number, 1)
    merges: list[tuple[str, str]] = []
    while len(merges) < n_merges and (frequency := +frequency):
        best = min(frequency, key=lambda pair: (-frequency[pair], pair))
        merges.append(best)
        for number in places.pop(best):
            count_pairs(number, -1)
            split[number] = _merge(split[number][0], best), split[number][1]
            count_pairs(number, 1)
    return merges


def _merge(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for token in tokens:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return merged
