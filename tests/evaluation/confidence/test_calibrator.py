"""The confidence of a trial: features by hand, the fit, and that it never rates its own trials."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from dreamdiffusion.evaluation.confidence.calibrator import (
    FEATURES,
    MIN_FITTED,
    Calibrator,
    Guesses,
    assess,
    category_prototypes,
    fit_calibrator,
    guess,
    trial_names,
)


def said(*rows, n_categories=3):
    """Judge's probabilities (1, k, C): each image gives .8 to one category, or what is stated."""
    rest = 0.2 / (n_categories - 1)
    images = [
        row if isinstance(row, list) else [0.8 if c == row else rest for c in range(n_categories)]
        for row in rows
    ]
    return np.array([images])


def made_up(n, rng, weights=(1.5, -0.5, 1.0, 0.0, 2.0, 0.0), bias=-0.3):
    """Guesses whose true probability of being right is a logistic function of their features."""
    features = rng.standard_normal((n, len(FEATURES)))
    p = expit(features @ np.array(weights) + bias)
    named = rng.integers(0, 5, n)
    truth = np.where(rng.random(n) < p, named, (named + 1) % 5)
    return Guesses(named, features), truth, p


def names(n, who="a"):
    return [f"{who}/{i}" for i in range(n)]


def test_features_by_hand():
    prototypes = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = guess(said(0, 0, 0, 1), np.array([[3.0, 4.0]]), prototypes)
    assert found.named.tolist() == [0]
    expected = {
        "share": 0.75,
        "entropy": -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)),
        "probability": (3 * 0.8 + 0.1) / 4,
        "cosine": 0.6,
        "margin": 0.6 - 0.8,
        "nearest": 0.0,
    }
    np.testing.assert_allclose(found.features[0], [expected[name] for name in FEATURES])
    assert found.right([0]).tolist() == [True]
    assert found.right([1]).tolist() == [False]


def test_one_image_has_no_entropy_and_agrees_with_itself():
    found = guess(said(1), np.array([[0.0, 2.0]]), np.array([[1.0, 0], [0, 1.0], [-1.0, 0]]))
    np.testing.assert_allclose(found.features, [[1.0, 0.0, 0.8, 1.0, 1.0, 1.0]])


def test_equal_votes_go_to_the_higher_mean_probability():
    prototypes = np.eye(3)
    eeg = np.array([[1.0, 0, 0]])
    sure = guess(said(0, [0.05, 0.9, 0.05]), eeg, prototypes)
    assert sure.named.tolist() == [1]
    assert guess(said([0.95, 0.0, 0.05], 1), eeg, prototypes).named.tolist() == [0]
    # One more vote outweighs any probability.
    votes = guess(said([0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.0, 1.0, 0.0]), eeg, prototypes)
    assert votes.named.tolist() == [0]


def test_a_category_without_training_pictures_is_far_from_everything():
    prototypes = category_prototypes([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], [0, 1, 1], 3)
    np.testing.assert_allclose(prototypes[:2], [[1, 0], [0, 1]])
    assert np.isnan(prototypes[2]).all()
    found = guess(said(2, 2), np.array([[0.6, 0.8]]), prototypes)
    np.testing.assert_allclose(found.features[0, 3:], [-1.0, -1.8, 0.0])


def test_prototypes_are_means_of_directions():
    # Lengths do not count: (1, 0) and (0, 1) weigh the same.
    found = category_prototypes([[10.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], [0, 0, 1], 2)
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [-1, 0]])


def test_what_does_not_fit_is_refused():
    eeg, prototypes = np.ones((1, 2)), np.eye(3)[:, :2]
    with pytest.raises(ValueError, match=r"expected \(n, k, C\)$"):
        guess(np.ones((3, 3)) / 3, eeg, prototypes)
    with pytest.raises(ValueError, match="do not sum to 1"):
        guess(said(0) * 2, eeg, prototypes)
    with pytest.raises(ValueError, match=r"embeddings \(1, 2\), prototypes \(3, 3\)"):
        guess(said(0), eeg, np.eye(3))
    with pytest.raises(ValueError, match="fewer than two categories"):
        guess(said(0), eeg, [[1.0, 0.0], [np.nan, np.nan], [np.nan, np.nan]])


def test_the_fit_finds_known_probabilities(rng):
    guesses, truth, _ = made_up(2000, rng)
    calibrator = fit_calibrator(guesses, truth, names(2000), "person 1")
    scored, scored_truth, p = made_up(3000, rng)
    confidence = calibrator.predict(scored, names(3000, "b"))
    assert np.abs(confidence - p).mean() < 0.02
    record = assess(calibrator, scored, scored_truth, names(3000, "b"), 0.1, rng)
    assert record.calibration_error <= record.error_if_perfect_95 < 0.03
    assert record.auc > 0.8
    assert record.n_fitted == 2000
    assert record.accuracy == pytest.approx(np.mean(scored.named == scored_truth))
    # The threshold is a promise: what is kept on other trials has the risk that was asked for.
    kept = confidence >= record.threshold
    assert record.kept == pytest.approx(kept.mean())
    assert record.kept > 0.2
    assert record.risk_kept == pytest.approx(np.mean(scored.named[kept] != scored_truth[kept]))
    assert record.risk_kept <= 0.1
    assert record.of_trial == pytest.approx(confidence)
    assert record.risk[-1] == pytest.approx(1 - record.accuracy)
    assert sum(b.n for b in record.bins) == record.n == 3000


def test_the_risk_of_what_is_kept_is_as_promised_fit_and_threshold_together(rng):
    """The bound is exact for each fold's regression; the last one sees all trials and holds too."""
    scored, _, p = made_up(20000, rng)
    risks = []
    for _ in range(40):
        guesses, truth, _ = made_up(240, rng)
        calibrator = fit_calibrator(guesses, truth, names(240), "a")
        threshold = calibrator.threshold(0.2)
        if threshold is not None:
            kept = calibrator.predict(scored, names(20000, "b")) >= threshold
            risks.append(1 - p[kept].mean())
    assert len(risks) > 25
    assert np.mean(np.array(risks) > 0.2) <= 0.05


def test_features_that_tell_nothing_give_the_share_of_right_ones(rng):
    guesses, truth, _ = made_up(400, rng, weights=np.zeros(6), bias=-1.0)
    same = Guesses(guesses.named, np.ones_like(guesses.features))
    confidence = fit_calibrator(same, truth, names(400), "a").predict(same, names(400, "b"))
    np.testing.assert_allclose(confidence, np.mean(guesses.named == truth), atol=1e-4)


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong_follow_laplace(right, rng):
    guesses, _, _ = made_up(50, rng)
    truth = guesses.named if right else guesses.named + 1
    calibrator = fit_calibrator(guesses, truth, names(50), "a")
    expected = (51 if right else 1) / 52
    np.testing.assert_allclose(calibrator.predict(guesses, names(50, "b")), expected)
    record = assess(calibrator, guesses, truth, names(50, "b"), 0.2, rng)
    assert record.auc is None
    assert record.calibration_error == pytest.approx(1 / 52)
    assert record.coverage == [1.0]
    if right:
        assert (record.threshold, record.kept, record.risk_kept) == (0.0, 1.0, 0.0)
    else:
        assert (record.threshold, record.kept, record.risk_kept) == (None, 0.0, None)


def test_a_trial_it_was_fitted_on_is_not_rated(rng):
    guesses, truth, _ = made_up(60, rng)
    calibrator = fit_calibrator(guesses, truth, names(60), "validation run 9")
    one = Guesses(guesses.named[:2], guesses.features[:2])
    with pytest.raises(ValueError, match=r"trial a/7 and 0 more .*validation run 9.* other trials"):
        calibrator.predict(one, ["b/1", "a/7"])
    with pytest.raises(ValueError, match="a/0 and 59 more"):
        assess(calibrator, guesses, truth, names(60), 0.2, rng)
    with pytest.raises(ValueError, match="2 guesses but 1 names"):
        calibrator.predict(one, ["b/1"])


def test_no_trial_rates_itself_when_the_threshold_is_chosen(rng):
    guesses, truth, _ = made_up(60, rng)
    person = np.repeat(["1", "2", "3"], 20)
    before = fit_calibrator(guesses, truth, names(60), "a", groups=person)
    # Other truths of person 2 change what persons 1 and 3 are rated, and not person 2.
    other = np.where(person == "2", (truth + (guesses.named == truth)) % 5, truth)
    after = fit_calibrator(guesses, other, names(60), "a", groups=person)
    changed = np.array(before.held_out) != np.array(after.held_out)
    assert not changed[person == "2"].any()
    assert changed[person != "2"].all()


def test_too_few_trials_and_names_that_occur_twice_are_refused(rng):
    guesses, truth, _ = made_up(MIN_FITTED - 1, rng)
    with pytest.raises(ValueError, match=f"{MIN_FITTED - 1} trials .*expected {MIN_FITTED}"):
        fit_calibrator(guesses, truth, names(MIN_FITTED - 1), "a")
    guesses, truth, _ = made_up(MIN_FITTED, rng)
    fit_calibrator(guesses, truth, names(MIN_FITTED), "a")
    with pytest.raises(ValueError, match="39 different names"):
        fit_calibrator(guesses, truth, [*names(MIN_FITTED - 1), "a/0"], "a")
    with pytest.raises(ValueError, match="truths of shape"):
        fit_calibrator(guesses, truth[1:], names(MIN_FITTED), "a")


def test_round_trip(tmp_path, rng):
    guesses, truth, _ = made_up(80, rng)
    calibrator = fit_calibrator(guesses, truth, names(80), "validation: run 9")
    path = tmp_path / "confidence.json"
    calibrator.save(path)
    again = Calibrator.load(path)
    assert again == calibrator
    np.testing.assert_array_equal(
        again.predict(guesses, names(80, "b")), calibrator.predict(guesses, names(80, "b"))
    )
    assert again.threshold(0.3) == calibrator.threshold(0.3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"extra": 1}, "not a fitted confidence"),
        ({"bias": "high"}, "not a fitted confidence"),
        ({"features": ["share"]}, r"rates by 6 weights of \['share'\]"),
        ({"weights": [1.0]}, "rates by 1 weights"),
        ({"right": []}, "cut short"),
    ],
)
def test_another_file_is_refused(tmp_path, rng, change, told):
    guesses, truth, _ = made_up(50, rng)
    path = tmp_path / "confidence.json"
    fit_calibrator(guesses, truth, names(50), "a").save(path)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(ValueError, match=told):
        Calibrator.load(path)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"confidence\.json does not exist"):
        Calibrator.load(tmp_path / "confidence.json")
    (tmp_path / "confidence.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="not a fitted confidence"):
        Calibrator.load(tmp_path / "confidence.json")
    (tmp_path / "confidence.json").write_text("[1]", "utf-8")
    with pytest.raises(ValueError, match="not a fitted confidence"):
        Calibrator.load(tmp_path / "confidence.json")


def test_trials_are_named_by_recording_and_onset():
    table = pd.DataFrame(
        {"subject": ["01", "01"], "session": "01", "run": ["02", "03"], "onset": [1.25, 0.0004]}
    )
    assert trial_names(table) == ["01/01/02/1250", "01/01/03/0"]
