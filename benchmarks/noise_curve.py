"""What is read and drawn of SIMULATED EEG at four noise levels, beside LDA.

    python benchmarks/noise_curve.py

About 6 minutes of one core for each level. `decodability.py` draws the curve; it is in
``docs/results/decodability.json``. The recordings are those that ``dreamdiffusion simulate
--n_runs 12 --noise_level X`` writes: runs 1-8 train (1,920 trials), run 9 scales the probabilities,
runs 11 and 12 are the test (480 trials), with one network. All of the prior is fitted anew at each
level, as ``fit prior --config scenes`` does. Every part is kept in ``--output`` and not computed
again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from reader import FINAL, Bench, linear_answers, prior_images
from reader_scores import Side, summary

from dreamdiffusion.cli.commands import main as command
from dreamdiffusion.datasets.simulation.viewer import DEFAULT_NOISE_LEVEL
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.trials.trials import Trials

TEST = ["11", "12"]
LEVELS = (1.0, 0.7, 0.5, DEFAULT_NOISE_LEVEL)
CHANCE = {"category": 1 / 24, "color": 1 / 8, "both": 1 / 192, "place": 1 / 3, "retrieval": 1 / 240}
LDA_ROW = "LDA, pooled, 47 ms, channels repaired"
STRENGTH = 0.5
"""Of the drawing: as `reader.py` chose it."""


def trials_at(level: float, folder: Path) -> Trials:
    """Simulate and cut the recordings of one noise level, once."""
    person, trials = folder / "person", folder / "trials"
    if not (trials / "info.json").is_file():
        command(
            ["simulate", "--output", str(person), "--n_runs", "12", "--noise_level", f"{level:g}"]
        )
        command(["prepare", "--config", "scenes", "--input", str(person), "--output", str(trials)])
    return Trials.load(trials)


def rows_at(trials: Trials, folder: Path) -> dict:
    """Return the scores of one level, with intervals."""
    bench = Bench(trials, folder)
    prior = bench.prior
    test = Side.of(trials, TEST, prior.bank, bench.embed)
    rows = {
        name: bench.part(name, lambda answer=answer: test.score_answer(answer))
        for name, answer in linear_answers(bench, test).items()
        if name.startswith("LDA")
    }
    rows["reader"] = bench.part(
        "reader", lambda: test.score_answer(prior.reader.decode(test.trials))
    )
    guess = {"temperature": 0, "strength": STRENGTH}
    rows[FINAL] = bench.part(
        FINAL, lambda: test.score_images(prior_images(prior, test, **guess)), drawn=True
    )
    return {
        "n": len(test.trials),
        "weights": vars(prior.weights),
        "rows": summary(rows, Exchange.of(test.trials.metadata), FINAL),
    }


def noise_curve(output: Path) -> dict[str, dict]:
    """Return the scores of every level."""
    found = {}
    for level in LEVELS:
        folder = output / f"{level:g}"
        found[f"{level:g}"] = rows_at(trials_at(level, folder), folder)
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
