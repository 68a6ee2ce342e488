"""The models that the page offers, opened when they are first asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamdiffusion.cli.app.pages import About, Dial, png_uri
from dreamdiffusion.decoders.base import CATEGORY, RECORD, Answer, no_decoder, read_record
from dreamdiffusion.decoders.fit import load_decoder
from dreamdiffusion.decoders.generate import prepare_settings, to_pil
from dreamdiffusion.decoders.images import ImageDecoder, NotDrawnError
from dreamdiffusion.evaluation.confidence.calibrator import FILE, Calibrator, trial_names
from dreamdiffusion.evaluation.confidence.per_trial import gather
from dreamdiffusion.evaluation.judged import DRAWS
from dreamdiffusion.files.progress import hidden
from dreamdiffusion.models.judge.judge import Judge, load_judge
from dreamdiffusion.trials.config import PrepareConfig
from dreamdiffusion.trials.trials import Trials

DIALS = {
    "dreamdiffusion": Dial(
        "guidance_scale", "How strictly the EEG is followed", "loosely", "strictly", 1.0, 6.0, 2.5
    ),
    "prior": Dial(
        "strength",
        "How much is drawn anew",
        "the likeliest picture of the bank",
        "all of it",
        0.0,
        1.0,
        0.5,
    ),
}
"""By the decoder's name; a decoder that is not here has no dial."""
SEED = 0


class Model:
    """One decoder that draws images.

    Parameters
    ----------
    folder
        Of the decoder.
    judge
        Names what images show, so that a confidence can be given; None: there is none.
    device
        As `Decoder.to`.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no decoder, or one that draws nothing.
    """

    def __init__(self, folder: Path, judge: Judge | None, device: str) -> None:
        decoder = load_decoder(folder)
        if not isinstance(decoder, ImageDecoder):
            raise ValueError(
                f"{folder.name} is the decoder {decoder.name!r}, which draws no images; give one "
                "of dreamdiffusion or prior"
            )
        self.folder, self.decoder = folder, decoder.to(device)
        self._judge = judge
        self._calibrator = None
        if judge is not None and (folder / FILE).is_file():
            self._calibrator = Calibrator.load(folder / FILE)
        found = self.decoder.prototypes()
        self.kinds = sorted(found)
        self._prototypes = torch.stack([found[name] for name in self.kinds]) if found else None

    def cut_settings(self) -> PrepareConfig:
        """Return how a recording is cut for this decoder."""
        return prepare_settings(self.decoder.processor)

    def name(self, trials: Trials) -> tuple[list[str], list[str]]:
        """Return the kind that the EEG of each trial names, n, and all that it could name.

        Both are empty where the decoder names none.
        """
        answer = self.decoder.read(trials)
        if answer.labels is not None and answer.probabilities is not None:
            return answer.labels, [str(name) for name in answer.probabilities[CATEGORY].columns]
        if self._prototypes is None or answer.embeddings is None:
            return [], []
        return [self.kinds[place] for place in self._near(answer).argmax(axis=1)], self.kinds

    def draw(self, trials: Trials, dial: float | None, n_images: int) -> Answer:
        """Draw images of trials; an image depends on the EEG, the place and its number alone."""
        with hidden():
            return self.decoder.decode(trials, self._sample(dial, n_images))

    def draw_by_probability(self, trials: Trials, dial: float | None) -> torch.Tensor | None:
        """Draw images that differ as much as the EEG leaves open, ``(n, k, 3, height, width)``.

        None where the images of `draw` are such already.
        """
        changes = self.decoder.other_drawings.get(DRAWS)
        if changes is None:
            return None
        sample = self._sample(dial, 1).model_copy(update=dict(changes))
        with hidden():
            return self.decoder.decode(trials, sample).images

    def draw_text(self, text: str, dial: float | None) -> list[str]:
        """Draw a text by the generator alone, and return the images' addresses.

        Raises
        ------
        ValueError
            If the decoder draws from no text.
        """
        try:
            with hidden():
                (images,) = self.decoder.draw_texts([text], self._sample(dial, 2), np.arange(1))
        except NotDrawnError as error:
            raise ValueError(f"no text can be drawn: {error}; leave it empty") from error
        return [png_uri(to_pil(image)) for image in images]

    def _sample(self, dial: float | None, n_images: int) -> Any:
        """Return how images are drawn, in the decoder's own schema."""
        fields: dict[str, Any] = {"num_images_per_prompt": n_images, "seed": SEED}
        if dial is not None:
            fields[DIALS[self.decoder.name].field] = dial
        return self.decoder.settings(**fields)

    def confidence(self, trials: Trials, answer: Answer, draws: torch.Tensor | None) -> list[str]:
        """Say of each trial which kind its images show, how sure that is, and what else is near."""
        sure = self._sure(trials, answer, draws)
        near = None
        if self._prototypes is not None and answer.embeddings is not None:
            near = self._near(answer)
        words = []
        for number, seen in enumerate(trials.metadata["category"].astype(str)):
            said = (
                [sure[number]]
                if sure
                else [
                    "How likely this is right is not known: the model has no confidence that fits."
                ]
            )
            if near is not None:
                order = [self.kinds[place] for place in np.argsort(-near[number])]
                said.append(f"The EEG is nearest to {', '.join(order[:3])}.")
                if seen in order:
                    place = f"{order.index(seen) + 1} of {len(order)}"
                    said.append(f"What was shown, {seen}, comes in place {place}.")
            words.append(" ".join(said))
        return words

    def _near(self, answer: Answer) -> np.ndarray:
        """Return how near each trial is to each kind, ``(n, n_kinds)``."""
        assert self._prototypes is not None and answer.embeddings is not None
        return (answer.embeddings.cpu().float() @ self._prototypes.cpu().float().T).numpy()

    def _sure(self, trials: Trials, answer: Answer, draws: torch.Tensor | None) -> list[str]:
        """Rate the images as the report does; nothing where it cannot be done for these."""
        judge, calibrator = self._judge, self._calibrator
        if judge is None or calibrator is None or self._prototypes is None:
            return []
        if answer.images is None or answer.embeddings is None:
            return []
        if set(judge.categories) != set(self.kinds):
            return []
        order = [self.kinds.index(name) for name in judge.categories]
        prototypes = self._prototypes[order].cpu().float().numpy()
        guesses = gather(judge, prototypes, answer, answer.images, draws)
        try:
            rated = calibrator.predict(guesses, trial_names(trials.metadata))
        except ValueError:  # fitted on these very trials, or on other features
            return []
        return [
            f"The images show {judge.categories[named]}; this is right with {_percent(p)} "
            "probability."
            for named, p in zip(guesses.named, rated, strict=True)
        ]


class Models:
    """Names and folders of the models; each is opened once.

    Parameters
    ----------
    folders
        Of the decoders; the last part of a path is the model's name.
    judge
        Folder of a judge; None: there is none.
    device
        As `Decoder.to`.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder holds no decoder, or two have one name.
    """

    def __init__(self, folders: list[Path], judge: Path | None, device: str) -> None:
        self._folders: dict[str, Path] = {}
        for folder in folders:
            about_model(folder)
            if folder.name in self._folders:
                raise ValueError(f"two models are called {folder.name}; rename one of the folders")
            self._folders[folder.name] = folder
        self._judge_folder, self._device = judge, device
        self._judge: Judge | None = None
        self._opened: dict[str, Model] = {}

    @property
    def offered(self) -> list[About]:
        """What the page says of each."""
        return [about_model(folder) for folder in self._folders.values()]

    def open(self, name: str) -> Model:
        """Return a model by its name."""
        if name not in self._opened:
            if self._judge is None and self._judge_folder is not None:
                self._judge = load_judge(self._judge_folder)
            self._opened[name] = Model(self._folders[name], self._judge, self._device)
        return self._opened[name]


def _percent(p: float) -> str:
    """Return a probability in words; none is certain."""
    if p > 0.99:
        return "more than 99 %"
    return "less than 1 %" if p < 0.01 else f"{100 * p:.0f} %"


def about_model(folder: Path) -> About:
    """Say what a model is and how well it did, without opening it.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no decoder.
    """
    record = folder / RECORD
    if not record.is_file() and not (folder / "adapter.json").is_file():
        raise no_decoder(folder)
    name = str(read_record(folder)["decoder"]) if record.is_file() else "dreamdiffusion"
    return About(folder.name, f"{folder.name}.", _score(folder), DIALS.get(name))


def _score(folder: Path) -> str:
    """Return the first score of its `scores.json` in a sentence."""
    path = folder / "scores.json"
    if not path.is_file():
        return "It was not evaluated, so nothing is known of how well it does."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first = content["scores"][0]
        value, chance, n = float(first["value"]), float(first["chance"]), int(first["n"])
        of = "SIMULATED pictures" if content["simulated"] else "pictures"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path} is not a record of scores: {error!r}") from error
    return (
        f"On {n} held-out {of} it was right in {100 * value:.0f} %, where chance is "
        f"{100 * chance:.0f} %. It fits the person and the electrodes it was fitted on."
    )
