"""How long retrieval and N-way take at the size of THINGS-EEG2 and of the papers, on one core.

    python benchmarks/metrics.py

prints seconds of processor time (so other work on the machine does not count): 16,540 embeddings
against a gallery of 200 (top-1, top-5 and hubness), and 50-way top-1 of 2,000 images among 1,000
classes, drawn 1,000 times as the papers do, and its expectation for all pairs of trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from dreamdiffusion.evaluation.metrics.pairs import n_way_drawn, n_way_pairs
from dreamdiffusion.evaluation.metrics.retrieval import score_retrieval


def seconds(task: Callable[[], object]) -> float:
    """Return the processor time of the quickest of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    g = torch.Generator().manual_seed(0)
    embeddings, gallery = (torch.randn(n, 1024, generator=g) for n in (16540, 200))
    truth = np.arange(16540) % 200
    words = {"kind": "random", "repeats": "1", "selection": "none"}
    taken = seconds(lambda: score_retrieval(embeddings[:, None], gallery, truth, **words))
    print(f"retrieval, 16,540 x 200, 1,024 numbers: {taken:.2f} s (wanted: below 1)")

    probabilities = rng.dirichlet(np.full(1000, 0.01), size=(2000, 1))
    labels = rng.integers(1000, size=2000)
    taken = seconds(lambda: n_way_drawn(probabilities, labels, 50, rng, repeats=1000))
    print(f"50-way, 1,000 draws, 2,000 images: {taken:.2f} s (wanted: below 5)")
    taken = seconds(lambda: n_way_pairs(probabilities, labels, 50))
    print(f"50-way, expectation, all 2,000 x 2,000 pairs: {taken:.2f} s")


if __name__ == "__main__":
    main()
