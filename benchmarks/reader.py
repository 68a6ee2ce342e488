"""What a SIMULATED person's EEG says and what of it the pictures show, beside every short cut.

    dreamdiffusion simulate --output runs/scenes-person --n_runs 20
    dreamdiffusion prepare --config scenes --input runs/scenes-person --output runs/scenes-trials
    python benchmarks/reader.py

Runs 1-8 train (1,920 trials), run 9 scales and chooses, runs 17-20 are the test (960 trials,
retrieval among the 240 of a run). Runs 10-16 are no test: they were looked at before.
Writes ``docs/results/reader.json`` and prints the table. Every part is kept in ``--output`` and not
computed again; drawings are kept for each generator. ``--model`` takes a prior that
``fit prior --config scenes`` wrote, of the same runs, in place of fitting one; ``--looked_up``
leaves out the rows that a generator draws; ``--choose`` compares ways of drawing on run 9.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reader_scores import ATTRIBUTES, ROOT, Scores, Side, edges, summary

from dreamdiffusion.decoders.base import Answer
from dreamdiffusion.decoders.caption.words import caption_of
from dreamdiffusion.decoders.config import EncodingConfig, LdaConfig
from dreamdiffusion.decoders.encoding import Encoding
from dreamdiffusion.decoders.fit import decode, fit, load_decoder
from dreamdiffusion.decoders.generate import to_pil
from dreamdiffusion.decoders.lda import LDA
from dreamdiffusion.decoders.linear import fit_lda
from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.decoders.prior.posterior import Evidence, PosteriorWeights, fit_weights
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.evaluation.confidence.calibration import calibration_error, error_if_perfect
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.files.pictures import read_images, to_tensor
from dreamdiffusion.files.whole import write_picture
from dreamdiffusion.models.embedder import Embed, load_embedder
from dreamdiffusion.models.generator.draw import PromptedGenerator
from dreamdiffusion.trials.config import SplitConfig
from dreamdiffusion.trials.splits import Split, split_trials
from dreamdiffusion.trials.trials import Trials

GENERATOR = ROOT / "weights" / "scenes-generator"
CHOICE, TEST = ["09"], ["17", "18", "19", "20"]
OTHERS = ["10", "11", "12", "13", "14", "15", "16"]
FINAL = "prior, best guess drawn"
WIDTHS = {"31": 0.031, "47": 0.047}


@dataclass
class Bench:
    """Trials, what is fitted on them, and the parts that are computed once."""

    trials: Trials
    output: Path
    source: Path = GENERATOR
    model: Path | None = None

    @property
    def rule(self) -> dict:
        """Which runs train: none of those that are looked at, here or elsewhere."""
        there = set(self.trials.metadata["run"])
        test = [run for run in [*TEST, *OTHERS] if run in there]
        return {"by": "run", "test": test, "validation": CHOICE}

    @cached_property
    def split(self) -> Split:
        return split_trials(self.trials.metadata, SplitConfig(**self.rule), 0)

    @cached_property
    def embed(self) -> Embed:
        return load_embedder(GENERATOR / "clip", torch.device("cpu"))

    @cached_property
    def prior(self) -> Prior:
        """The default, with its networks; fitted once."""
        folder = self.model or self.output / "prior" / "model"
        if not folder.is_dir():
            settings = {"output": self.output / "prior", "repair_channels": 4.0}
            fit(self.trials, self.rule, "prior", **settings)
        prior = load_decoder(folder)
        assert isinstance(prior, Prior)
        prior.generator = self.source
        return prior.to("cpu")

    @cached_property
    def repaired(self) -> Trials:
        """All trials, their loose channels replaced, for the short cuts too."""
        return self.prior.reader.as_read(self.trials)

    def readers(self) -> dict[str, Reader]:
        """The network alone, with the linear model, and reading channels as they are."""
        whole = self.prior.reader
        return {
            "reader, networks alone": replace(whole, linear=[], pooling={}),
            "reader": whole,
            "reader, channels as they are": replace(whole, repair=None),
        }

    def priors(self) -> dict[str, Prior]:
        """The default, and what each part of its posterior says without the others."""
        prior, side = self.prior, self.sides["choice"]
        answer, about_bank = prior.compare(side.trials)
        own = Evidence.of(answer, side.seen, side.trials.metadata)
        earlier = fit_weights(replace(about_bank, likelihood=None), own)
        reader = replace(prior.reader, repair=None)
        return {
            "": prior,
            ", channels as they are": replace(prior, reader=reader),
            ", reader alone": replace(prior, weights=earlier, likelihood=None),
            ", likelihood alone": replace(prior, weights=PosteriorWeights(0.0, 0.0, 1.0)),
        }

    @cached_property
    def sides(self) -> dict[str, Side]:
        bank = self.prior.bank
        runs = {"choice": CHOICE, "test": TEST}
        return {key: Side.of(self.trials, of, bank, self.embed) for key, of in runs.items()}

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """What the reader of the default says."""
        return {key: self.prior.reader.decode(side.trials) for key, side in self.sides.items()}

    @cached_property
    def generator(self) -> PromptedGenerator:
        return PromptedGenerator.from_pretrained(self.source)

    def draw(self, **given) -> torch.Tensor:
        """Draw from captions or embeddings alone, from noise."""
        return self.generator.draw(**given, rng=torch.Generator().manual_seed(1))

    def part(self, name: str, make: Callable[[], Scores], drawn: bool = False) -> Scores:
        """Return scores that are kept, or make and keep them."""
        key = name + (f" {generator_print(self.source)}" if drawn else "")
        path = self.output / "parts" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.is_file():
            start = time.process_time()
            scores = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **scores)  # pyright: ignore[reportArgumentType]
            means = {metric: round(float(of.mean()), 3) for metric, of in scores.items()}
            print(f"{name}: {means}, {time.process_time() - start:.0f} s", flush=True)
        with np.load(path) as kept:
            return dict(kept)


def generator_print(folder: Path) -> str:
    """Return what tells one generator from another: its weights, and how it draws."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".safetensors" or path.name == "scheduler_config.json":
            found.update(path.read_bytes())
    return found.hexdigest()[:8]


def linear_answers(bench: Bench, side: Side) -> dict[str, Answer]:
    """Return what LDA of each attribute and the joint encoding model say."""
    found = {}
    for note, trials in {"": bench.trials, ", channels repaired": bench.repaired}.items():
        tested = side.trials if not note else bench.prior.reader.as_read(side.trials)
        found |= {f"{name}{note}": of for name, of in _linear(trials, bench.split, tested).items()}
    return found


def _linear(trials: Trials, split: Split, tested: Trials) -> dict[str, Answer]:
    data, found = np.asarray(trials.data[split.train]), {}
    for width, seconds in WIDTHS.items():
        tables = {}
        for name in ATTRIBUTES:
            labels = trials.metadata[name].to_numpy()[split.train]
            lda = fit_lda(data, labels, trials.sfreq, seconds, "pooled")
            chances = lda.predict_proba(np.asarray(tested.data))
            tables[name] = pd.DataFrame(chances, columns=pd.Index(lda.classes))
        found[f"LDA, pooled, {width} ms"] = Answer(probabilities=tables)
    for width, seconds in WIDTHS.items():
        model = Encoding.fit(trials, split, EncodingConfig(width_s=seconds))
        found[f"linear encoding model, {width} ms"] = model.decode(tested)
    return found


def words(answer: Answer, attributes: tuple[str, ...] = ATTRIBUTES) -> list[str]:
    """Return the caption of the most probable values."""
    tables = {name: (answer.probabilities or {})[name] for name in attributes}
    best = pd.DataFrame({name: table.idxmax(axis=1) for name, table in tables.items()})
    return [caption_of({str(k): str(v) for k, v in row.items()}) for row in best.to_dict("records")]


def label_rows(bench: Bench) -> dict[str, Scores]:
    """Score what is said of the test trials, before anything is drawn."""
    side, rows = bench.sides["test"], {}
    for name, answer in linear_answers(bench, side).items():
        rows[name] = side.score_answer(answer)
    for name, reader in bench.readers().items():
        rows[name] = bench.part(name, lambda r=reader: side.score_answer(r.decode(side.trials)))
    prior = bench.prior
    said = bench.part("prior: words", lambda: side.score_answer(_words_of(prior, side.trials)))
    rows["prior: what its posterior says"] = said
    return rows


def _words_of(prior: Prior, trials: Trials) -> Answer:
    """Return the attributes' probabilities that go with the images; no embedding."""
    return Answer(probabilities=prior.read(trials).probabilities)


def calibration(bench: Bench) -> dict[str, float]:
    """Return how far the category's probability and the share of right ones are apart."""
    trials = bench.sides["test"].trials
    table = (_words_of(bench.prior, trials).probabilities or {})["category"]
    sure = table.to_numpy().max(axis=1).clip(0, 1)
    right = table.idxmax(axis=1).to_numpy() == trials.metadata["category"].to_numpy()
    perfect = error_if_perfect(sure, np.random.default_rng(0))[0]
    return {"error": calibration_error(sure, right), "of a perfect one": perfect}


def by_run(bench: Bench) -> dict[str, dict[str, float]]:
    """Return the share of right categories in every run after the training."""
    found, lda = {}, fit_baseline(bench, WIDTHS["47"])
    for run in sorted([*CHOICE, *TEST, *OTHERS]):
        trials = bench.trials.select(np.flatnonzero(bench.trials.metadata["run"] == run))
        side = replace(bench.sides["test"], trials=trials)
        said = {
            "LDA, pooled, 47 ms": lda.decode(trials),
            "reader": bench.prior.reader.decode(trials),
            "prior: what its posterior says": _words_of(bench.prior, trials),
        }
        found[run] = {
            name: float(side.score_answer(replace(of, embeddings=None))["category"].mean())
            for name, of in said.items()
        }
        changed = np.any(bench.prior.reader.as_read(trials).data != trials.data, axis=(1, 2))
        found[run]["trials repaired"] = float(changed.mean())
    return found


def fit_baseline(bench: Bench, width_s: float) -> LDA:
    """Fit LDA of the category."""
    config = LdaConfig(width_s=width_s, covariance="pooled")
    return LDA.fit(bench.trials, bench.split, config)


def looked_up_rows(bench: Bench) -> dict[str, Scores]:
    """Score pictures that are looked up, and not drawn."""
    side, rows = bench.sides["test"], {}
    images = {"nearest training picture": partial(nearest_training, bench, bench.answers["test"])}
    looked = {"strength": 0, "num_images_per_prompt": 1}
    for name, prior in bench.priors().items():
        guess = partial(prior_images, prior, side, temperature=0, **looked)
        images[f"bank's best picture, looked up{name}"] = guess
    images["a draw from the posterior, looked up"] = partial(
        prior_images, bench.prior, side, temperature=1, **looked
    )
    for name, make in images.items():
        rows[name] = bench.part(name, lambda make=make: side.score_images(make()))
    return rows


def drawn_rows(bench: Bench, best: dict, draws: dict) -> dict[str, Scores]:
    """Score images that are drawn: short cuts, the prior, and ceilings."""
    side, answer = bench.sides["test"], bench.answers["test"]
    rows: dict[str, Scores] = {}

    def add(name: str, images: Callable[[], torch.Tensor]) -> None:
        rows[name] = bench.part(name, lambda: side.score_images(images()), drawn=True)

    linear = linear_answers(bench, side)
    # Each drawn with the windows that read more of the validation run: category, colour.
    lda = linear["LDA, pooled, 47 ms, channels repaired"]
    model = linear["linear encoding model, 31 ms, channels repaired"]
    add("LDA's category drawn, 47 ms, channels repaired",
        lambda: bench.draw(captions=words(lda, ("category",))))  # fmt: skip
    add("linear encoding model drawn, 31 ms, channels repaired",
        lambda: bench.draw(captions=words(model)))  # fmt: skip
    add("label only: the reader's category drawn",
        lambda: bench.draw(captions=words(answer, ("category",))))  # fmt: skip
    add("caption: the reader's words drawn", lambda: bench.draw(captions=words(answer)))
    add("the posterior's words drawn",
        lambda: bench.draw(captions=words(_words_of(bench.prior, side.trials))))  # fmt: skip
    add("embedding alone, drawn",
        lambda: bench.draw(embeddings=answer.embeddings, noise_level=1.0))  # fmt: skip
    add(FINAL, lambda: prior_images(bench.prior, side, temperature=0, **best))
    add("a draw from the posterior, drawn",
        lambda: prior_images(bench.prior, side, temperature=1, **draws))  # fmt: skip
    captions = side.trials.metadata["caption"].tolist()
    add("the true embedding, drawn", lambda: bench.draw(embeddings=side.seen))
    add("the true caption, drawn", lambda: bench.draw(captions=captions))
    return rows


def prior_images(prior: Prior, side: Side, **settings) -> torch.Tensor:
    """Return the first image of each trial."""
    images = decode(prior, side.trials, **{"num_images_per_prompt": 1, **settings}).images
    assert images is not None
    return images[:, 0]


def nearest_training(bench: Bench, answer: Answer) -> torch.Tensor:
    """Look up the training picture whose embedding is nearest to the EEG's."""
    train = bench.trials.select(bench.split.train)
    pictures = to_tensor(read_images(train.images(), bench.prior.bank.size, train.picture_fit))
    assert answer.embeddings is not None
    return pictures[(answer.embeddings @ bench.embed(pictures).T).argmax(dim=1)]


def write_sheet(bench: Bench, settings: dict, path: Path) -> None:
    """Show the first test trials: seen, the caption drawn, looked up, drawn, a draw drawn."""
    side = bench.sides["test"]
    first = replace(side, trials=side.trials.select(np.arange(16)))
    answer = bench.prior.reader.decode(first.trials)
    rows = [
        side.shown[:16],
        bench.draw(captions=words(answer)),
        prior_images(bench.prior, first, temperature=0, strength=0),
        prior_images(bench.prior, first, temperature=0, **settings),
        prior_images(bench.prior, first, temperature=1, **settings),
    ]
    write_picture(path, to_pil(torch.cat([torch.cat(list(row), 2) for row in rows], 1)))


WAYS = {f"strength {value:g}": {"strength": value} for value in (0, 0.3, 0.5, 0.7, 0.9, 1)}


def choose(bench: Bench) -> dict[str, dict[str, float]]:
    """Compare ways of drawing the best guess on the validation run."""
    side, found = bench.sides["choice"], {}
    for name, settings in WAYS.items():
        guess = partial(prior_images, bench.prior, side, temperature=0, **settings)
        key = f"run 9: {name}, temperature 0"
        scores = bench.part(key, lambda guess=guess: side.score_images(guess()), drawn=True)
        found[name] = {metric: float(of.mean()) for metric, of in scores.items()}
    return found


COLUMNS = ("category", "color", "both", "place", "retrieval", "pcc")
COMPARED = ("both", "pcc")


def markdown(rows: dict) -> str:
    """Return the table of the documentation."""
    heads = [*COLUMNS, *(f"{name}: final - this" for name in COMPARED)]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for row, scores in rows.items():
        cells = [_cell(scores.get(name, {}), "value", "ci95") for name in COLUMNS]
        for name in COMPARED:
            cells.append(_cell(scores.get(name, {}), "final_minus_this", "difference_ci95"))
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(entry: dict, value: str, interval: str) -> str:
    if value not in entry:
        return ""
    low, high = entry[interval]
    return f"{entry[value]:.3f} ({low:.3f} to {high:.3f})".replace("0.", ".")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=Path, default=Path("runs/scenes-trials"))
    parser.add_argument("--output", type=Path, default=Path("runs/reader-benchmark"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--generator", type=Path, default=GENERATOR)
    parser.add_argument("--looked_up", action="store_true")
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--strength", type=float, default=0.5)
    arguments = parser.parse_args()
    trials = Trials.load(arguments.trials)
    bench = Bench(trials, arguments.output, arguments.generator, arguments.model)
    choices = choose(bench) if arguments.choose else {}
    rows = label_rows(bench) | looked_up_rows(bench)
    settings = {"strength": arguments.strength}
    if not arguments.looked_up:
        rows |= drawn_rows(bench, settings, settings)
    against = "bank's best picture, looked up" if arguments.looked_up else FINAL
    side = bench.sides["test"]
    known = np.equal(
        side.place_of.predict(edges(side.shown)), side.trials.metadata["place"].to_numpy()
    )
    found = {
        "n": len(side.trials),
        "simulated": True,
        "ensemble": len(bench.prior.reader.networks),
        "compared_with": against,
        "strength": arguments.strength,
        "place_of_true_pictures": float(known.mean()),
        "weights": vars(bench.prior.weights),
        "pooling": bench.prior.reader.pooling,
        "rows": summary(rows, Exchange.of(side.trials.metadata), against),
        "by_run": by_run(bench),
        "calibration": calibration(bench),
        "choices_on_run_9": choices,
    }
    path = ROOT / "docs" / "results" / "reader.json"
    text = json.dumps(found, indent=1, default=float)
    text = json.dumps(json.loads(text, parse_float=lambda x: round(float(x), 3)), indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    if not arguments.looked_up:
        write_sheet(bench, settings, path.with_suffix(".png"))
    print(markdown(found["rows"]))


if __name__ == "__main__":
    main()
