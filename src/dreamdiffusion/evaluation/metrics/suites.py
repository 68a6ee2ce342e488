"""The published metrics of a set of generated images, by suite, from judges that a config names.

`ImageSuites` is made once from the pictures that were shown, before anything is decoded, so that a
missing judge does not waste the decoding; then it scores the generated images, and those of every
control, in the same way.

Notation: n trials, k images per trial, m pictures that differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamdiffusion.evaluation.config import ImageJudgesConfig
from dreamdiffusion.evaluation.metrics.distribution import (
    few_pictures_note,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from dreamdiffusion.evaluation.metrics.feature_judges import FeatureJudge, open_judge
from dreamdiffusion.evaluation.metrics.nsd import (
    SIZE,
    distance_pairs,
    feature_correlations,
    nsd_ssim_pairs,
    pixcorr_pairs,
    two_way_pairs,
)
from dreamdiffusion.evaluation.metrics.pairs import (
    mse_pairs,
    n_way_pairs,
    pcc_pairs,
    ssim_pairs,
)
from dreamdiffusion.evidence.scores import DistributionScore, Score
from dreamdiffusion.models.judge.judge import check_images
from dreamdiffusion.models.pixels import distinct_pictures

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Metric = Callable[[Tensor, Ints | None], Floats]
"""Images (n, k, 3, H, W) and groups of trials -> pairs (n, n)."""

_TRIALS = 32  # whose features are held at a time
SUITES = ("nsd", "pairwise", "distribution", "n_way")


class ImageSuites:
    """The metrics of some suites, for what was shown in n trials.

    Parameters
    ----------
    seen : Tensor, (n, 3, H, W), or None
        The picture shown in each trial, square, in [0, 1]. None where only its category is known:
        then no suite can be scored, and ``not_scored`` says so.
    suites : sequence of str
        Of ``nsd``, ``pairwise``, ``distribution``, ``n_way``.
    judges : ImageJudgesConfig
    device : torch.device
        Of the judges.
    n_way, top : int
        Of the suite n_way.

    Attributes
    ----------
    protocol : dict of str to str
        Metric -> how it is computed.
    not_scored : dict of str to str
        Metric or suite -> why.
    lower_is_better : set of str
        Those of the metrics of `pairs` that are distances.

    Raises
    ------
    FileNotFoundError
        If a judge is missing; see `feature_judges.open_judge`.
    ValueError
        If a suite is unknown, pictures are not square or not in [0, 1], or the classifier has fewer
        classes than ``n_way``.
    """

    def __init__(
        self, seen: Tensor | None, suites: Sequence[str], judges: ImageJudgesConfig,
        device: torch.device, n_way: int = 50, top: int = 1,
    ) -> None:  # fmt: skip
        unknown = sorted(set(suites) - set(SUITES))
        if unknown:
            raise ValueError(f"suite {unknown[0]!r} is unknown; there are {', '.join(SUITES)}")
        self.protocol: dict[str, str] = {}
        self.not_scored: dict[str, str] = {}
        self.lower_is_better: set[str] = set()
        self._metrics: dict[str, Metric] = {}
        self._device = device
        self._of_sets: tuple[FeatureJudge, Tensor] | None = None
        if seen is None:
            reason = "which picture was shown is not known, only its category"
            self.not_scored = dict.fromkeys(suites, reason)
            return
        check_images(seen, "seen")
        if seen.shape[-1] != seen.shape[-2]:
            raise ValueError(f"pictures are {tuple(seen.shape[-2:])} pixels, expected a square")
        self._seen = seen
        rows, self._truth = distinct_pictures(seen)
        self._pictures = seen[torch.from_numpy(rows)]
        if "nsd" in suites:
            self._add_nsd(judges)
        if "pairwise" in suites:
            self._add_pairwise(judges.perceptual)
        if "n_way" in suites:
            self._add_n_way(judges.classifier, n_way, top)
        if "distribution" in suites:
            self._add_distribution(judges.distribution)

    def pairs(self, images: Tensor, groups: Ints | None = None) -> dict[str, Floats]:
        """Score images, of the decoder or of a control.

        Parameters
        ----------
        images : Tensor, (n, k, 3, H, W)
            In [0, 1].
        groups : array of int, (n,), optional
            SSIM and LPIPS, which cost most, are computed within these alone (see
            `pairs.trial_groups`) and are NaN elsewhere. ``np.arange(n)`` gives the diagonal,
            which is all that a control needs.

        Returns
        -------
        dict of str to array (n, n)
            Metric -> ``pairs``, see `metrics.pairs`; of those in ``lower_is_better`` less is
            better.

        Raises
        ------
        ValueError
            If the images are not of the same trials and size as the pictures that were shown.
        """
        if self._metrics:
            self._check(images)
        return {name: metric(images, groups) for name, metric in self._metrics.items()}

    def distributions(
        self, images: Tensor, shuffled: Tensor | None = None
    ) -> list[DistributionScore]:
        """Compare all images with all pictures that were shown, each once: FID, KID, IS.

        Parameters
        ----------
        images : Tensor, (n, k, 3, H, W)
            In [0, 1].
        shuffled : Tensor, (n, k, 3, H, W), optional
            The images of the shuffled-EEG control.
        """
        if self._of_sets is None:
            return []
        self._check(images)
        own = self._of_set(images)
        control = {} if shuffled is None else self._of_set(shuffled)
        n_generated, n_seen = images.shape[0] * images.shape[1], len(self._pictures)
        notes = {"fid": few_pictures_note(n_generated, n_seen)}
        return [
            DistributionScore(
                metric=name, value=value, n_generated=n_generated, n_seen=n_seen,
                shuffled_eeg=control.get(name), note=notes.get(name, ""),
            )
            for name, value in own.items()
        ]  # fmt: skip

    def _add_nsd(self, judges: ImageJudgesConfig) -> None:
        seen = self._seen
        self._add(
            "nsd_pixcorr", lambda images, groups: pixcorr_pairs(seen, images),
            f"Pearson correlation of RGB pixels, resized to {SIZE}",
        )  # fmt: skip
        self._add(
            "nsd_ssim", lambda images, groups: nsd_ssim_pairs(seen, images, groups),
            f"grey, resized to {SIZE}, Gaussian window of sigma 1.5, population covariance",
        )  # fmt: skip
        m = len(self._pictures)
        for name, source in judges.two_way.items():
            if m < 2:
                self.not_scored[f"two_way_{name}"] = "there are not two pictures to choose from"
                continue
            self._add_features(
                f"two_way_{name}", source, two_way_pairs,
                f"share of the {m - 1} other pictures shown whose features correlate less with the "
                "image's than the true one's; even guessing is 0.5",
            )  # fmt: skip
        for name, source in judges.distance.items():
            metric = f"distance_{name}"
            description = "1 - correlation of the features; lower is better"
            self._add_features(metric, source, distance_pairs, description)
            self.lower_is_better.add(metric)

    def _add_features(
        self, metric: str, source: str, score: Callable[[Floats, Ints], Floats], description: str
    ) -> None:
        judge = open_judge(source, self._device)
        gallery = judge.features(self._pictures)

        def pairs(images: Tensor, groups: Ints | None) -> Floats:
            # Some trials at a time: the features of all images may not fit into memory.
            found = [
                feature_correlations(_of_trials(judge, part), gallery)
                for part in images.split(_TRIALS)
            ]
            return score(np.concatenate(found), self._truth)

        self._add(metric, pairs, f"{description}; judge: {judge.description}")

    def _add_pairwise(self, perceptual: str | None) -> None:
        seen, size = self._seen, f"at {self._seen.shape[-1]} pixels"
        self._add(
            "mse", lambda images, groups: mse_pairs(seen, images),
            f"mean squared difference of RGB in [0, 1] {size}; lower is better",
        )  # fmt: skip
        self._add(
            "pcc", lambda images, groups: pcc_pairs(seen, images),
            f"Pearson correlation of RGB pixels {size}",
        )  # fmt: skip
        self._add(
            "ssim_color", lambda images, groups: ssim_pairs(seen, images, groups, color=True),
            f"in colour {size}, flat window of 7 pixels, as the code of DreamDiffusion",
        )  # fmt: skip
        self.lower_is_better.add("mse")
        if perceptual is None:
            self.not_scored["lpips"] = "image_judges.perceptual names no network"
            return
        judge = open_judge(perceptual, self._device)
        self._add(
            "lpips", lambda images, groups: _squared_distance_pairs(judge, seen, images, groups),
            f"lower is better; judge: {judge.description}",
        )  # fmt: skip
        self.lower_is_better.add("lpips")

    def _add_n_way(self, classifier: str | None, n_way: int, top: int) -> None:
        name = f"{n_way}_way_top{top}"
        if classifier is None:
            self.not_scored[name] = "image_judges.classifier names no network"
            return
        judge = open_judge(classifier, self._device)
        on_seen = judge.probabilities(self._seen)
        truth = on_seen.argmax(1)
        n_way_pairs(on_seen[:, None], truth, n_way, top)  # raises now rather than after decoding

        def pairs(images: Tensor, groups: Ints | None) -> Floats:
            found = judge.probabilities(images.flatten(0, 1)).reshape(*images.shape[:2], -1)
            return n_way_pairs(found, truth, n_way, top)

        description = (
            f"among the {top} most probable of {n_way} of the {on_seen.shape[1]} classes, the "
            "others drawn without replacement (expectation over all draws); the truth is what the "
            f"judge names on the picture shown; judge: {judge.description}"
        )
        self._add(name, pairs, description)

    def _add_distribution(self, source: str | None) -> None:
        if source is None:
            reason = "image_judges.distribution names no network"
            self.not_scored |= dict.fromkeys(("fid", "kid", "inception_score"), reason)
            return
        if len(self._pictures) < 2:
            reason = "there are not two pictures to compare with"
            self.not_scored |= dict.fromkeys(("fid", "kid", "inception_score"), reason)
            return
        judge = open_judge(source, self._device)
        features, classes = judge.look(self._pictures)
        self._of_sets = (judge, features)
        d = features.shape[1]
        self.protocol["fid"] = (
            f"Frechet distance of {d} features, pictures shown each once; lower is better; says "
            f"nothing about single trials; judge: {judge.description}"
        )
        self.protocol["kid"] = (
            f"unbiased squared MMD, kernel (x.y / {d} + 1)^3, all pairs; lower is better; judge: "
            f"{judge.description}"
        )
        if classes is None:
            self.not_scored["inception_score"] = f"{judge.description} names no classes"
        else:
            self.protocol["inception_score"] = (
                f"exp of the mean KL of {classes.shape[1]} classes, over the whole set; higher is "
                f"better; judge: {judge.description}"
            )

    def _of_set(self, images: Tensor) -> dict[str, float]:
        assert self._of_sets is not None
        judge, seen = self._of_sets
        found, classes = judge.look(images.flatten(0, 1))
        x, y = found.numpy(), seen.numpy()
        values = {"fid": frechet_distance(x, y), "kid": kernel_distance(x, y)}
        if classes is not None:
            values["inception_score"] = inception_score(classes)
        return values

    def _add(self, name: str, metric: Metric, description: str) -> None:
        self._metrics[name] = metric
        self.protocol[name] = description

    def _check(self, images: Tensor) -> None:
        if images.ndim != 5 or len(images) != len(self._seen):
            raise ValueError(
                f"images have shape {tuple(images.shape)}, expected "
                f"({len(self._seen)}, k, {', '.join(map(str, self._seen.shape[1:]))})"
            )
        if images.shape[2:] != self._seen.shape[1:]:
            raise ValueError(
                f"images are {tuple(images.shape[2:])}, the pictures shown "
                f"{tuple(self._seen.shape[1:])}; resize the pictures to the generator's size"
            )
        check_images(images.flatten(0, 1))


def as_published(record: Score) -> Score:
    """Turn the record of a negated distance into that of the distance.

    Statistics take more for better, so a distance goes through them as ``-pairs``. Afterwards
    value, chance and interval carry the published sign again, and so do the controls' values. The
    differences stay as they are: above 0, the decoder is better than the control.
    """
    low, high = record.ci95
    controls = {
        name: control.model_copy(update={"value": -control.value})
        for name, control in record.controls.items()
    }
    return record.model_copy(
        update={
            "lower_is_better": True,
            "value": -record.value,
            "chance": -record.chance,
            "ci95": (-high, -low),
            "controls": controls,
        }
    )


def _squared_distance_pairs(
    judge: FeatureJudge, seen: Tensor, images: Tensor, groups: Ints | None
) -> Floats:
    """Squared distance of features, within groups of trials."""
    n = len(seen)
    pairs = np.full((n, n), np.nan)
    for members in _members(n, groups):
        there = judge.features(seen[members])
        for j in members:
            own = judge.features(images[j])
            pairs[members, j] = [float((own - one).square().sum(1).mean()) for one in there]
    return pairs


def _of_trials(judge: FeatureJudge, images: Tensor) -> Tensor:
    """Return the features (n, k, d) of images (n, k, 3, H, W)."""
    return judge.features(images.flatten(0, 1)).unflatten(0, images.shape[:2])


def _members(n: int, groups: Ints | None) -> Iterator[NDArray[np.intp]]:
    labels = np.zeros(n, np.int64) if groups is None else groups
    return (np.flatnonzero(labels == label) for label in np.unique(labels))
