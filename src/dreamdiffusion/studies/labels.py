"""Scores of the labels of a decoder that draws nothing, beside those of images in one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.evaluation.config import EvaluateConfig
from dreamdiffusion.evaluation.held_out import HeldOut, hold_out
from dreamdiffusion.evaluation.metrics.pairs import label_pairs
from dreamdiffusion.evidence.look_log import log_look
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import score_metric
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import write_json
from dreamdiffusion.trials.splits import Split
from dreamdiffusion.trials.trials import Trials


def score_labels(config: EvaluateConfig) -> dict[str, Any]:
    """Score the most probable value of every attribute on the trials that images are scored on.

    Of the configuration, what concerns images is not used.

    Returns
    -------
    dict
        ``split``, ``simulated``, ``scores`` (one a metric, as in ``scores.json``), ``not_scored``
        and ``trials``: what was shown and what was named. Written to ``labels.json`` below
        ``config.output``, with ``config.yaml``.

    Raises
    ------
    FileNotFoundError, ValueError
        If model or trials are missing or do not fit, or fewer than two trials are scored.
    """
    trials = Trials.load(config.data)
    split = None if config.split == "new" else Split.load(config.model / "split.json")
    held = hold_out(config, config.model, split, trials)
    decoder = load_decoder(config.model).to(config.runtime.device)
    log_look(
        model=config.model, data=config.data, metadata=trials.metadata, rows=held.rows,
        n_trials=len(held.tested), side=config.split, config=config, simulated=trials.simulated,
    )  # fmt: skip
    named = {
        name: [str(table.columns[place]) for place in table.to_numpy().argmax(axis=1)]
        for name, table in (decoder.decode(held.tested).probabilities or {}).items()
    }
    found = {
        "split": held.description,
        "simulated": trials.simulated,
        **_score(config, held, named),
    }
    config.output.mkdir(parents=True, exist_ok=True)
    write_json(config.output / "labels.json", found)
    write_yaml(config, config.output / "config.yaml")
    return found


def _score(config: EvaluateConfig, held: HeldOut, named: dict[str, list[str]]) -> dict[str, Any]:
    metadata = held.tested.metadata
    design = Exchange.of(metadata)
    # As images: the same trials are moved when the EEG is shuffled.
    moved = design.derangement(np.random.default_rng([config.sample.seed, 0]))
    rng = np.random.default_rng([config.sample.seed, 1])
    scores, shown = [], {}
    for name, labels in named.items():
        truth = metadata[name].astype(str).tolist()
        pairs = label_pairs(labels, truth)
        control = {"shuffled_eeg": pairs[np.arange(len(pairs)), moved]}
        score = score_metric(
            f"{name}_top1", pairs, control, rng, design, config.n_permutations, config.n_bootstrap
        )
        scores.append(score.model_dump(mode="json"))
        shown |= {name: truth, f"judged_{name}": [[label] for label in labels]}
    why = f"the decoder names {', '.join(named)}" if named else "the decoder names nothing"
    not_scored = {m: why for m in ("category_top1", "color_top1") if m[:-5] not in named}
    return {"scores": scores, "not_scored": not_scored, "trials": shown}
