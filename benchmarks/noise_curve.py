"""What is read and drawn of SIMULATED EEG at four noise levels, beside LDA.

    python benchmarks/noise_curve.py

About 4 minutes of one core for each level. `decodability.py` draws the curve; it is in
``docs/results/decodability.json``. The recordings are those that ``dreamdiffusion simulate
--n_runs 12 --noise_level X`` writes: runs 1-8 train (1,920 trials), run 9 scales the probabilities,
runs 11 and 12 are the test (480 trials), with one network and without the likelihood. Every part
is kept in ``--output`` and not computed again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from reader import CHOICE, FINAL, GENERATOR, WIDTHS, Bench, linear_answers, prior_images
from reader_scores import Side, summary

from dreamdiffusion.cli.commands import main as command
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL
from dreamdiffusion.decoders.fit import fit, load_decoder
from dreamdiffusion.decoders.prior.bank import Bank
from dreamdiffusion.decoders.prior.decoder import Prior
from dreamdiffusion.decoders.prior.posterior import Evidence, fit_weights
from dreamdiffusion.decoders.reader.decoder import Reader
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.models.embedder import load_embedder
from dreamdiffusion.trials.trials import Trials

TEST = ["11", "12"]
LEVELS = (1.0, 0.7, 0.5, DEFAULT_NOISE_LEVEL)
CHANCE = {"category": 1 / 24, "color": 1 / 8, "both": 1 / 192, "place": 1 / 3, "retrieval": 1 / 240}
LDA_ROW = "LDA, pooled, 47 ms"


def trials_at(level: float, folder: Path) -> Trials:
    """Simulate and cut the recordings of one noise level, once."""
    person, trials = folder / "person", folder / "trials"
    if not (trials / "info.json").is_file():
        command(
            ["simulate", "--output", str(person), "--n_runs", "12", "--noise_level", f"{level:g}"]
        )
        command(["prepare", "--config", "scenes", "--input", str(person), "--output", str(trials)])
    return Trials.load(trials)


def shared_bank(folder: Path) -> Bank:
    """Return the bank of the default, drawn once for all levels."""
    if not folder.is_dir():
        embed = load_embedder(GENERATOR / "clip", torch.device("cpu"))
        Bank.of_scenes(24000, 64, 0, embed).save(folder)
    return Bank.load(folder)


def rows_at(trials: Trials, folder: Path, bank: Bank) -> dict:
    """Return the scores of one level, with intervals."""
    bench = Bench(trials, folder)
    test, choice = (Side.of(trials, runs, bank, bench.embed) for runs in (TEST, CHOICE))
    rows = {
        name: bench.part(name, lambda answer=answer: test.score_answer(answer))
        for name, answer in linear_answers(bench, test).items()
        if name in {f"LDA, pooled, {width} ms" for width in WIDTHS}
    }
    model = folder / "reader" / "model"
    if not model.is_dir():
        fit(folder / "trials", bench.rule, "reader", output=folder / "reader")
    reader = load_decoder(model)
    assert isinstance(reader, Reader)
    reader = reader.to("cpu")
    rows["reader"] = bench.part("reader", lambda: test.score_answer(reader.decode(test.trials)))
    answer = reader.decode(choice.trials)
    weights = fit_weights(
        Evidence.of(answer, bank.embeddings, bank.attributes),
        Evidence.of(answer, choice.seen, choice.trials.metadata),
    )
    prior = Prior(reader, bank, weights, GENERATOR, GENERATOR / "clip")
    rows[FINAL] = bench.part(
        FINAL, lambda: test.score_images(prior_images(prior, test)), drawn=True
    )
    return {
        "n": len(test.trials),
        "weights": vars(weights),
        "rows": summary(rows, Exchange.of(test.trials.metadata), FINAL),
    }


def noise_curve(output: Path) -> dict[str, dict]:
    """Return the scores of every level."""
    bank = shared_bank(output / "bank")
    found = {}
    for level in LEVELS:
        folder = output / f"{level:g}"
        found[f"{level:g}"] = rows_at(trials_at(level, folder), folder, bank)
    return found


def markdown(curve: dict[str, dict]) -> str:
    """Return the table of the documentation."""
    levels = sorted(curve, key=float)
    lines = [f"| | chance | {' | '.join(levels)} |", "| --- | --- |" + " --- |" * len(levels)]
    for metric in ("category", "color", "both"):
        for row in (LDA_ROW, "reader", FINAL):
            cells = []
            for level in levels:
                entry = curve[level]["rows"][row][metric]
                low, high = entry["ci95"]
                cells.append(f"{entry['value']:.3f} ({low:.3f} to {high:.3f})")
            text = " | ".join([f"{metric}: {row}", f"{CHANCE[metric]:.3f}", *cells])
            lines.append(f"| {text} |".replace("0.", "."))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/noise-curve"))
    print(markdown(noise_curve(parser.parse_args().output)))


if __name__ == "__main__":
    main()
