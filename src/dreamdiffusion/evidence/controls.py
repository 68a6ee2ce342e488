"""What a score is compared with: the same images made without what a decoder is meant to use.

One record for each control, and nowhere else a list of them; how each is drawn says
`evaluation.control_images`. Importing this module must stay cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ControlKind = Literal["without_brain", "without_image", "without_time", "other_drawing"]


@dataclass(frozen=True)
class Control:
    """One way to make images that shows where a score comes from.

    Attributes
    ----------
    name
        Key in `scores.json`, and word of the setting `controls`.
    kind
        ``without_brain``: it knows nothing of the response to the picture, so what it scores is
        the generator's doing, or the data's; the headline is the difference to the strongest of
        them. ``without_image``: it uses the EEG and reconstructs nothing; it shows whether the
        images hold more than a class that was named, or a picture that was looked up.
        ``without_time``: EEG without its slow course over the recording; a score that rests on
        the response survives it, one that rests on when a trial was recorded does not.
        ``other_drawing``: the same EEG, its images drawn otherwise, by decoders that can; it shows
        what the way of drawing gains or costs.
    description
        What it is made from, to stand beside its score.
    label, short_label
        How a report names it in running text, and in a figure.
    """

    name: str
    kind: ControlKind
    description: str
    label: str
    short_label: str


CONTROLS = {
    control.name: control
    for control in (
        Control(
            "shuffled_eeg",
            "without_brain",
            "drawn from the EEG of another trial, with other seeds",
            "shuffled EEG",
            "shuffled",
        ),
        Control(
            "phase_randomised_eeg",
            "without_brain",
            "drawn from EEG of the same power spectra and the same relations between channels, "
            "its course in time destroyed (Prichard and Theiler 1994)",
            "phase-randomised EEG",
            "phases",
        ),
        Control(
            "mean_embedding",
            "without_brain",
            "drawn from what the EEG of the training trials says on average, the same for all "
            "trials",
            "mean embedding",
            "mean",
        ),
        Control(
            "no_eeg_prior",
            "without_brain",
            "drawn without any EEG: what the decoder draws by itself; of a bank, from pictures "
            "chosen by chance",
            "no EEG (prior)",
            "no EEG",
        ),
        Control(
            "label_only",
            "without_image",
            "the category that the linear baseline decodes, drawn from its name by the generator "
            "as it was before the EEG",
            "label only",
            "label",
        ),
        Control(
            "nearest_training_image",
            "without_image",
            "the picture of training whose CLIP embedding is nearest to the EEG's: nothing is "
            "drawn",
            "nearest training image",
            "nearest",
        ),
        Control(
            "time_removed_eeg",
            "without_time",
            "drawn from EEG without its slow course over the recording; a score that rests on the "
            "response keeps its value",
            "EEG without drift",
            "no drift",
        ),
        Control(
            "posterior_draws",
            "other_drawing",
            "four images a trial whose pictures are drawn by their probability (temperature 1), "
            "not the likeliest: they differ as much as the EEG leaves open",
            "draws by probability",
            "draws",
        ),
        Control(
            "bank_picture",
            "other_drawing",
            "the likeliest picture of the bank as it is: looked up, nothing is drawn",
            "bank picture as it is",
            "bank",
        ),
    )
}
"""Every control by name, in the order in which reports show them."""


def controls_of_kind(kind: ControlKind) -> list[str]:
    """Return the names of all controls of a kind, in the order of reports."""
    return [control.name for control in CONTROLS.values() if control.kind == kind]
