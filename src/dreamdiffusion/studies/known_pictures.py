"""Which of the known pictures, or classes, was seen: scores of a decoder that draws nothing.

The answer of a decoder for a trial is a probability of each picture it was trained on (attribute
`stim_file`), or of each class; the claim is of these alone. Where each class has one picture, both
are the same question and the probability of the class answers it. Of a decoder that learned no
picture as such, the embedding of the EEG tells which of the tested trials' pictures is the nearest.
Nothing is drawn: the report shows the most probable pictures beside the one that was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import rankdata

from dreamdiffusion.decoders.base import CATEGORY, Answer
from dreamdiffusion.decoders.baselines import BASELINES, load_baselines
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_embeddings
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.evaluation.evaluate import versions
from dreamdiffusion.evaluation.metrics.pairs import label_pairs
from dreamdiffusion.evidence.audit.run import read_audit
from dreamdiffusion.evidence.control_inputs import phase_randomised
from dreamdiffusion.evidence.headline import audit_reasons, control_reason, state_headline
from dreamdiffusion.evidence.look_log import log_look, selection_suspected
from dreamdiffusion.evidence.scores import Reason, Score, Scores
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import correct, permutation_p, score_metric
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.files.schema import Schema
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.report.write import write_results
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials

PICTURE = "stim_file"
SHOWN = 4
"""Pictures that the report shows of a trial."""
SIZE = 96
"""Pixels of a picture in the report."""
CANNOT_DRAW = "no generator at hand draws such pictures, so none is drawn: shown are "
OF_TRAINING = "the pictures of the training that the decoder finds most probable"
OF_TESTED = "the tested pictures whose embeddings are the nearest to the EEG's"
OF_BANK = "pictures of the class that the decoder finds most probable"
CARDS = "the names of the classes that the decoder finds most probable"


@dataclass
class Named:
    """What a decoder, and the controls, say of n tested trials.

    Attributes
    ----------
    tested
        The trials.
    answer
        The decoder's.
    moved
        Place of the trial whose EEG each got when it was shuffled, int (n,).
    phases
        The decoder's answer for EEG of the same spectra, its course in time destroyed.
    frequent
        Value -> how often it was seen in training, of each attribute.
    by_embedding
        The column of pictures holds cosines with the EEG's embedding, not probabilities.
    """

    tested: Trials
    answer: Answer
    moved: np.ndarray
    phases: Answer
    frequent: dict[str, pd.Series]
    by_embedding: bool = False

    @property
    def tells_pictures(self) -> bool:
        """Whether the answer is about each picture, not about classes alone."""
        return PICTURE in (self.answer.probabilities or {})


def score_known(model: Path, data: Path, output: Path, config: Schema) -> Scores:
    """Score a decoder's probabilities on the test trials, with controls, and write the report.

    Parameters
    ----------
    model
        Folder of a fitted decoder that gives labels.
    data
        Folder of its trials.
    output
        For `scores.json`, `gallery.png` and `report.html`.
    config
        Of the command, which the log of looks keeps.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder does not hold what is expected, or fewer than two trials are tested.
    """
    trials, split = Trials.load(data), Split.load(model / "split.json")
    tested = trials.select(split.tested)
    looks = log_look(
        model=model, data=data, metadata=trials.metadata, rows=split.tested,
        n_trials=len(tested), side="test", config=config, simulated=trials.simulated,
    )  # fmt: skip
    named = _name(model, trials, split, tested)
    rng = np.random.default_rng([0, 1])
    design = Exchange.of(tested.metadata)
    scores = correct(_scores(named, design, rng))
    first = scores[0]
    audit = read_audit(model)
    reasons: list[Reason | None] = [selection_suspected(looks), *audit_reasons(audit)]
    shuffled = _pairs(named, first.metric)[:, named.moved]
    p = permutation_p(shuffled, 2000, rng, design)
    value = first.controls["shuffled_eeg"].value
    reasons.append(control_reason(first.metric, value, first.chance, p))
    shared = bool(split.shared_stimuli) or trials.pairing == "category"
    pictures, what = _candidates(named, trials)
    best = _most_probable(named, pictures)
    result = Scores(
        split=split.rule,
        simulated=trials.simulated,
        headline=state_headline(scores, [r for r in reasons if r is not None], shared),
        scores=scores,
        baselines=_baselines(model, tested, named.moved, design, rng),
        not_scored={"images": CANNOT_DRAW + what},
        protocol=_protocol(named),
        looks=looks,
        judge={},
        confusion=_confusion(named),
        trials=_trials(named),
        audit=audit,
        made={"config": config.model_dump(mode="json"), "versions": versions()},
    )
    write_results(output, result, pictures[torch.from_numpy(best)], _seen(named, trials), {})
    return result


def _name(model: Path, trials: Trials, split: Split, tested: Trials) -> Named:
    decoder = load_decoder(model)
    rng = np.random.default_rng([0, 0])
    other = tested.select(np.arange(len(tested)))
    other.data = phase_randomised(np.asarray(tested.data), rng)
    train = trials.metadata.iloc[split.train]
    read = decoder.read if isinstance(decoder, ImageDecoder) else decoder.decode
    answer, phases = read(tested), read(other)
    space = decoder.clip if isinstance(decoder, Reader) else None
    files = tested.metadata[PICTURE].astype(str).tolist()
    if picture_of := _one_of_each_class(trials):
        answer, phases = (_with_pictures_of_classes(one, picture_of) for one in (answer, phases))
    by_embedding = (
        space is not None
        and PICTURE not in (answer.probabilities or {})
        and tested.pairing == "stim_file"
        and len(set(files)) > 1
    )
    if by_embedding and space is not None:
        pairs = load_embeddings(tested, load_embedder(space))
        known = list(dict.fromkeys(zip(files, pairs.first.tolist(), strict=True)))
        answer, phases = (_with_cosines(one, known, pairs.embeddings) for one in (answer, phases))
    frequent = {
        name: train[name].astype(str).value_counts(normalize=True)
        for name in answer.probabilities or {}
    }
    moved = Exchange.of(tested.metadata).derangement(rng)
    return Named(tested, answer, moved, phases, frequent, by_embedding)


def _one_of_each_class(trials: Trials) -> dict[str, str]:
    """Return class -> picture where each class has one picture of its own, else nothing."""
    if trials.pairing != "stim_file" or not all(trials.metadata[PICTURE]):
        return {}
    names = (trials.metadata[name].astype(str) for name in (CATEGORY, PICTURE))
    pairs = set(zip(*names, strict=True))
    picture_of = dict(pairs)
    return picture_of if len(pairs) == len(picture_of) == len(set(picture_of.values())) else {}


def _with_pictures_of_classes(answer: Answer, picture_of: dict[str, str]) -> Answer:
    """Answer for pictures as for their classes: which was seen is then one question, not two."""
    if CATEGORY not in (answer.probabilities or {}):
        return answer
    assert answer.probabilities is not None
    table = answer.probabilities[CATEGORY].rename(columns=picture_of)
    return replace(answer, probabilities={**answer.probabilities, PICTURE: table})


def _with_cosines(answer: Answer, known: list[tuple[str, int]], embeddings: torch.Tensor) -> Answer:
    """Add how near the EEG's embedding is to each picture's, by their names and places."""
    assert answer.embeddings is not None
    cosines = (answer.embeddings @ embeddings[[place for _, place in known]].T).double().numpy()
    table = pd.DataFrame(cosines, columns=pd.Index([name for name, _ in known]))
    return replace(answer, probabilities={**(answer.probabilities or {}), PICTURE: table})


def _pairs(named: Named, metric: str, answer: Answer | None = None) -> np.ndarray:
    """Pair scores (n, n) of a metric: [i, j] of what trial i showed in the answer for trial j."""
    attribute = CATEGORY if metric.startswith(CATEGORY) else PICTURE
    tables = (answer or named.answer).probabilities or {}
    truth = named.tested.metadata[attribute].astype(str).tolist()
    if metric.endswith("top1"):
        table = tables[attribute]
        best = [str(table.columns[place]) for place in table.to_numpy().argmax(axis=1)]
        return label_pairs(best, truth)
    return _before_others(tables[attribute], truth, 5 if metric.endswith("top5") else None)


def _before_others(table: pd.DataFrame, truth: list[str], top: int | None) -> np.ndarray:
    """Share of the other pictures that the right one is before; or whether it is among the top.

    A picture that no training trial showed is before none.
    """
    values = table.to_numpy()
    if top is None:
        before = (rankdata(values, axis=1) - 1) / (values.shape[1] - 1)
    else:  # of equals none is before the others
        before = (rankdata(-values, method="max", axis=1) <= top).astype(float)
    place = {str(name): n for n, name in enumerate(table.columns)}
    columns = np.array([place.get(name, -1) for name in truth])
    return np.where(columns[:, None] >= 0, before.T[columns], 0.0)


def _scores(named: Named, design: Exchange, rng: np.random.Generator) -> list[Score]:
    metrics = ["category_top1"] if len(set(named.tested.metadata[CATEGORY])) > 1 else []
    if named.tells_pictures:
        metrics = ["picture_two_way", "picture_top1", "picture_top5", *metrics]
        if named.answer.probabilities and named.answer.probabilities[PICTURE].shape[1] <= 5:
            metrics.remove("picture_top5")
    found = []
    for metric in metrics:
        pairs = _pairs(named, metric)
        controls = {
            "shuffled_eeg": pairs[np.arange(len(pairs)), named.moved],
            "phase_randomised_eeg": np.diagonal(_pairs(named, metric, named.phases)),
            "no_eeg_prior": np.diagonal(_pairs(named, metric, _most_frequent(named))),
        }
        found.append(score_metric(metric, pairs, controls, rng, design))
    return found


def _most_frequent(named: Named) -> Answer:
    """Answer every trial with how often each value was seen in training."""
    tables = {}
    for name, table in (named.answer.probabilities or {}).items():
        shares = named.frequent[name].reindex([str(c) for c in table.columns]).fillna(0.0)
        rows = np.tile(shares.to_numpy(float), (len(table), 1))
        tables[name] = pd.DataFrame(rows, columns=table.columns)
    return Answer(probabilities=tables)


def _baselines(
    model: Path, tested: Trials, moved: np.ndarray, design: Exchange, rng: np.random.Generator
) -> list[Score]:
    labels = tested.metadata[CATEGORY].astype(str).tolist()
    found = []
    for name, decoder in load_baselines(model).items():
        pairs = label_pairs(decoder.decode(tested).labels or [], labels)
        control = {"shuffled_eeg": pairs[np.arange(len(pairs)), moved]}
        found.append(score_metric(f"{name}_category_top1", pairs, control, rng, design))
    return found


def _protocol(named: Named) -> dict[str, str]:
    of_baselines = {f"{name}_category_top1": b.description for name, b in BASELINES.items()}
    how = {"category_top1": "the most probable class of each trial; nothing is drawn"}
    if named.tells_pictures:
        of, nearest = "pictures known from training", "most probable"
        if named.by_embedding:
            of, nearest = "pictures of the tested trials", "nearest to the EEG's embedding"
        how |= {
            "picture_two_way": f"share of the other {of} that the right one is before; guessing "
            "gives a half",
            "picture_top1": f"of the {of} the {nearest} is the one seen",
            "picture_top5": f"the one seen is among the five {nearest}",
        }
    return how | of_baselines


def _confusion(named: Named) -> dict[str, Any]:
    truth = named.tested.metadata[CATEGORY].astype(str)
    labels = named.answer.labels or []
    names = sorted({*truth, *labels})
    table = pd.crosstab(truth, pd.Series(labels, index=truth.index))
    counts = table.reindex(index=names, columns=names, fill_value=0)
    return {"names": names, "counts": counts.to_numpy().tolist()}


def _trials(named: Named) -> dict[str, Any]:
    metadata = named.tested.metadata
    found: dict[str, Any] = {"category": metadata[CATEGORY].astype(str).tolist()}
    if not named.tells_pictures:  # one picture is shown, of the class that was named
        found["judged_category"] = [[label] for label in named.answer.labels or []]
    else:
        found["stim_file"] = metadata[PICTURE].astype(str).tolist()
        found["picture_two_way"] = np.diagonal(_pairs(named, "picture_two_way")).tolist()
    return found


def _candidates(named: Named, trials: Trials) -> tuple[torch.Tensor, str]:
    """Return a picture of each column of the answer, and what these are, in words."""
    tables, root = named.answer.probabilities or {}, trials.stimuli_root
    if named.tells_pictures:
        paths = [Path(root or ".") / str(name) for name in tables[PICTURE].columns]
        what = OF_TESTED if named.by_embedding else OF_TRAINING
    elif trials.pairing == "category":
        pools = trials.metadata.drop_duplicates(CATEGORY).set_index(CATEGORY)["pool"]
        all_of = trials.image_pools()
        paths = [all_of[str(pools[name])][0] for name in tables[CATEGORY].columns]
        what = OF_BANK
    elif not any(trials.metadata[PICTURE]):
        return _cards([str(name) for name in tables[CATEGORY].columns]), CARDS
    else:  # pictures that training did not show: one of each class
        first = trials.metadata.drop_duplicates(CATEGORY).set_index(CATEGORY)[PICTURE]
        paths = [Path(root or ".") / str(first[name]) for name in tables[CATEGORY].columns]
        what = OF_TRAINING
    return to_tensor(read_images(paths, SIZE, trials.picture_fit)), what


def _cards(names: list[str]) -> torch.Tensor:
    """Write names on white, where there are no pictures of them."""
    cards = []
    for name in names:
        card = Image.new("RGB", (SIZE, SIZE), "white")
        font = ImageFont.load_default(size=max(8, min(20, int(1.6 * SIZE / max(1, len(name))))))
        centre = (SIZE / 2, SIZE / 2)
        ImageDraw.Draw(card).text(centre, name, fill="black", anchor="mm", font=font)
        cards.append(np.asarray(card))
    return to_tensor(np.stack(cards))


def _most_probable(named: Named, pictures: torch.Tensor) -> np.ndarray:
    """Return the places of the most probable pictures of each trial, int (n, k)."""
    table = (named.answer.probabilities or {})[PICTURE if named.tells_pictures else CATEGORY]
    n_best = min(SHOWN if named.tells_pictures else 1, len(pictures))
    return np.argsort(-table.to_numpy(), axis=1, kind="stable")[:, :n_best]


def _seen(named: Named, trials: Trials) -> torch.Tensor | None:
    """Return what each tested trial showed (n, 3, SIZE, SIZE), where that is known."""
    if trials.pairing == "category" or not any(trials.metadata[PICTURE]):
        return None
    shown = named.tested.images()
    files = list(dict.fromkeys(shown))
    place = {path: n for n, path in enumerate(files)}
    seen = to_tensor(read_images(files, SIZE, trials.picture_fit))
    return seen[[place[path] for path in shown]]
