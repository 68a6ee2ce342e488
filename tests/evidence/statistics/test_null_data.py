"""On data with nothing in them a test objects in 2 to 9 %, see `benchmarks/null_data.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dreamdiffusion.evaluation.metrics.pairs import trial_groups
from dreamdiffusion.evidence.statistics.bootstrap import bootstrap_means, percentile_interval
from dreamdiffusion.evidence.statistics.exchange import Exchange
from dreamdiffusion.evidence.statistics.score import permutation_p

PATH = Path(__file__).parents[3] / "benchmarks" / "null_data.py"


@pytest.fixture(scope="module")
def null_data():
    spec = importlib.util.spec_from_file_location("null_data", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHAPES = {
    "runs": {"n_runs": 3, "n_trials": 30},
    "blocks": {"n_runs": 2, "n_trials": 72, "block": 6},
    "people": {"n_people": 6, "n_trials": 20},
}


@pytest.mark.parametrize("name", SHAPES)
def test_p_and_intervals_object_at_their_rate(null_data, name):
    hits: dict[str, list[bool]] = {}
    for number in range(200):
        rng = np.random.default_rng([11, number])
        metadata = null_data.experiment(rng, **SHAPES[name])
        design = Exchange.of(metadata)
        n, ps = len(design), []
        assert design.n_blocks < n or name != "blocks"  # as the audit finds it
        groups = trial_groups(design, rng, largest=15)
        widths = {"category_top1": 6, "retrieval_top1": 24, "pcc": 4, "ssim": 4}
        states = {metric: null_data.drift(rng, design, width) for metric, width in widths.items()}
        moved = design.derangement(rng)
        pairs = null_data.outputs(rng, metadata, states, np.arange(n), groups)
        control = null_data.outputs(rng, metadata, states, moved, groups)
        for metric, own in pairs.items():
            allowed = design.within(groups) if metric == "ssim" else design
            ps.append(permutation_p(own, 199, rng, allowed))
            hits.setdefault(f"p {metric}", []).append(ps[-1] <= 0.05)
        hits.setdefault("any, Holm", []).append(4 * min(ps) <= 0.05)
        difference = pairs["category_top1"].diagonal() - control["category_top1"].diagonal()
        low, high = percentile_interval(
            bootstrap_means(difference[:, None], design, 200, rng)[:, 0]
        )
        hits.setdefault("difference", []).append(low > 0 or high < 0)
    shares = {test: float(np.mean(found)) for test, found in hits.items()}
    assert shares.pop("any, Holm") <= 0.09
    assert all(0.02 <= share <= 0.09 for share in shares.values()), shares


def test_blocks_taken_as_trials_would_object_far_too_often(null_data):
    found = []
    for number in range(100):
        rng = np.random.default_rng([12, number])
        metadata = null_data.experiment(rng, 120, block=12)
        design = Exchange.one_run(120)
        states = {"category_top1": null_data.drift(rng, design, 6)}
        states |= {"retrieval_top1": np.zeros((120, 24)), "pcc": np.zeros((120, 4))}
        states["ssim"] = states["pcc"]
        own = null_data.outputs(rng, metadata, states, np.arange(120), np.zeros(120))
        found.append(permutation_p(own["category_top1"], 199, rng, design) <= 0.05)
    assert np.mean(found) > 0.2


def test_the_auc_objects_at_its_rate(null_data):
    found = [null_data.auc(np.random.default_rng([13, n]))["p/auc"] for n in range(200)]
    assert 0.02 <= np.mean(found) <= 0.09
