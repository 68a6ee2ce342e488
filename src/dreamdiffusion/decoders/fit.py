"""Fitting any decoder: split, audit, fit, and a folder that says how it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dreamdiffusion.decoders.base import (
    CATEGORY,
    MODEL,
    RECORD,
    Answer,
    Decoder,
    no_decoder,
    read_record,
)
from dreamdiffusion.decoders.baselines import fit_baselines
from dreamdiffusion.decoders.config import FitConfig, RepairConfig
from dreamdiffusion.decoders.images import ImageDecoder
from dreamdiffusion.decoders.registry import registry
from dreamdiffusion.evidence.audit.run import (
    audit_record,
    audit_trials,
    check_acknowledged,
    write_audit,
)
from dreamdiffusion.evidence.trained_on import save_trained_on
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.output import RESUMES, writes_output
from dreamdiffusion.files.schema import write_yaml
from dreamdiffusion.files.whole import LOOK_LOG, whole_folder, write_json
from dreamdiffusion.models.picture_prints import save_shown
from dreamdiffusion.models.start import part_of
from dreamdiffusion.training.device import is_main_process
from dreamdiffusion.trials.config import SplitConfig
from dreamdiffusion.trials.splits import Split, split_trials, subset_training
from dreamdiffusion.trials.trials import Trials


def fit(
    trials: Trials | Path | str,
    split: Split | SplitConfig | dict[str, Any] | None = None,
    decoder: str = "dreamdiffusion",
    **settings: Any,
) -> Decoder:
    """Fit a decoder on the training trials, and write it to ``output/model``.

    Parameters
    ----------
    trials
        A folder that `prepare` wrote, or trials in memory: these are written to ``output/trials``,
        so that the fit can go on when it is stopped, and be evaluated.
    split
        Which trials train, validate and test: a split, or a rule such as
        ``{"by": "run", "test": ["3"]}``. Left out: no test side, a tenth of the trials validates.
    decoder
        Its name in the registry (``list(dreamdiffusion.decoders)``).
    **settings
        Fields of the decoder's schema: ``output``, ``seed``, for DreamDiffusion ``generator``,
        ``pretrained``, ``steps`` and so on.

    Returns
    -------
    Decoder
        As `load_decoder` opens it.

    Raises
    ------
    KeyError
        If there is no such decoder.
    TypeError
        For a setting that it does not have.
    FileNotFoundError, ValueError
        As `fit_stage`; also for a setting whose value is not valid, or if ``output`` holds a fit
        of other trials or of another split.

    Examples
    --------
    The linear baseline, of where in the picture the thing was:

    >>> from dreamdiffusion import Trials, fit
    >>> trials = Trials.load("trials")
    >>> trials.metadata["category"] = trials.metadata["place"]
    >>> rule = {"by": "run", "test": ["02"], "validation_fraction": 0}
    >>> lda = fit(trials, split=rule, decoder="lda", output="lda", width_s=0.05)
    >>> sorted(lda.gives)
    ['labels']
    """
    schema = registry.schema(decoder)
    for key, name in (("data", "trials"), ("config", "keywords")):
        if key in settings:
            raise TypeError(f"fit takes no {key!r}; give {name}")
    if split is not None and not isinstance(split, Split):
        settings["split"] = split
    given = settings if isinstance(trials, Trials) else {**settings, "data": trials}
    config = _read_settings(schema, given)
    if isinstance(trials, Trials):
        config.data = _keep_trials(trials, config.output / "trials")
    return load_decoder(fit_decoder(config, split if isinstance(split, Split) else None))


def decode(
    decoder: Decoder | Path | str,
    trials: Trials | Path | str,
    device: str = "auto",
    **settings: Any,
) -> Answer:
    """Answer for trials with a fitted decoder.

    Parameters
    ----------
    decoder
        What `fit` returned, or a folder of it.
    trials
        In memory, or a folder that `prepare` wrote.
    device
        That a decoder from a folder computes on: ``auto``, ``cpu``, ``cuda``.
    **settings
        For decoders that draw images ``sample`` and ``numbers`` (`ImageDecoder.decode`), or the
        fields of `SampleConfig`: ``num_images_per_prompt``, ``seed`` and so on.

    Raises
    ------
    FileNotFoundError, ValueError
        If a folder does not hold what is expected, or the trials do not fit the decoder.

    Examples
    --------
    >>> from dreamdiffusion import Trials, decode, fit
    >>> trials = Trials.load("trials")
    >>> trials.metadata["category"] = trials.metadata["place"]
    >>> rule = {"by": "run", "test": ["02"], "validation_fraction": 0}
    >>> lda = fit(trials, split=rule, decoder="lda", output="lda", width_s=0.05)
    >>> answer = decode("lda/model", trials)
    >>> answer.probabilities["category"].columns.tolist()
    ['center', 'left', 'right']
    >>> len(answer.labels) == len(trials)
    True
    """
    if not isinstance(decoder, Decoder):
        decoder = load_decoder(decoder).to(device)
    if not isinstance(trials, Trials):
        trials = Trials.load(trials)
    return decoder.decode(trials, **settings)


@writes_output(RESUMES)
def fit_decoder(config: FitConfig, split: Split | None = None) -> Path:
    """Fit the decoder that a configuration belongs to; see `fit_stage`."""
    kind = registry[registry.of_config(config)]
    return fit_stage(config, lambda trials, split: kind.fit(trials, split, config), split)


def fit_stage(
    config: FitConfig, fit: Callable[[Trials, Split], Decoder], split: Split | None = None
) -> Path:
    """Fit a decoder on the training trials of ``config.data`` and write ``output/model``.

    The folder also holds ``split.json``, ``audit.json``, ``about.json`` and the baselines, fitted
    on the same training trials.

    Parameters
    ----------
    fit
        The decoder's own, given trials and split.
    split
        In place of the one that the configuration describes.

    Raises
    ------
    FileNotFoundError, ValueError
        If the trials are missing, the audit has a severe finding that ``config.acknowledge`` does
        not name, or the decoder lacks something.
    """
    output = config.output
    output.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_yaml(config, output / "config.yaml")
    trials = Trials.load(config.data)
    split = split or make_split(trials, config)
    _keep_split(split, output / "split.json")
    audited = run_audit(trials, split, config)
    fitted = fit(trials, split)
    folder = output / MODEL
    if not is_main_process():
        return folder
    about = {
        "simulated": trials.simulated,
        "split": split.rule,
        "split_sha256": split.sha256,
        "n_train": len(split.train),
        **fitted.facts(),
        "runs": trials.metadata[["subject", "session", "run"]].drop_duplicates().values.tolist(),
    }
    with whole_folder(folder, keep=(LOOK_LOG,)) as unfinished:
        fitted.save(unfinished)
        split.save(unfinished / "split.json")
        write_audit(unfinished / "audit.json", audited)
        repair = config.repair_channels if isinstance(config, RepairConfig) else None
        fit_baselines(trials, split, unfinished, repair)
        save_shown(unfinished, trials, split.train)
        fitted_on = np.concatenate([split.train, split.validation])
        save_trained_on(unfinished, trials, fitted_on, _start(config))
        write_json(unfinished / "about.json", about)
    return folder


def _start(config: FitConfig) -> Path | None:
    """Return the folder of the model whose weights a fit starts from, if there is one."""
    start = getattr(config, "init", None)
    return None if start is None else part_of(Path(start), MODEL)


def _read_settings(schema: type[FitConfig], settings: dict[str, Any]) -> FitConfig:
    @with_keywords(schema)
    def fit(config: FitConfig) -> FitConfig:
        return config

    return fit(**settings)


def _keep_trials(trials: Trials, folder: Path) -> Path:
    """Write trials that are in memory; those of an earlier fit there have to be the same."""
    if not (folder / "info.json").is_file():
        return trials.save(folder)
    kept = Trials.load(folder)
    same = trials.ch_names == kept.ch_names and np.array_equal(trials.data, kept.data)
    if not same or list(trials.metadata[CATEGORY]) != list(kept.metadata[CATEGORY]):
        raise ValueError(f"{folder} holds the trials of another fit; choose another output")
    return folder


def _keep_split(split: Split, path: Path) -> None:
    """Write the split of a fit, which has to be the same when the fit goes on."""
    if path.is_file() and Split.load(path).sha256 != split.sha256:
        raise ValueError(f"{path} is the split of another fit; choose another output")
    if is_main_process():
        split.save(path)


def make_split(trials: Trials, config: FitConfig) -> Split:
    """Split the trials as the configuration says."""
    sides = config.split
    if trials.pairing == "category":  # then the sides share pictures; the rule says so
        sides = sides.model_copy(update={"allow_shared_stimuli": True})
    split = split_trials(trials.metadata, sides, config.seed)
    if config.n_pairs is None:
        return split
    return subset_training(split, trials.metadata[CATEGORY].to_numpy(), config.n_pairs, config.seed)


def run_audit(trials: Trials, split: Split, config: FitConfig) -> dict[str, Any]:
    """Audit trials and split, write ``output/audit.json``, and return its content.

    Every process of a training looks for itself: all of them find the same, and all of them end.

    Raises
    ------
    ValueError
        For a severe finding that is not acknowledged.
    """
    findings = audit_trials(trials, split)
    audited = audit_record(findings, trials, split, config.acknowledge)
    if is_main_process():
        write_audit(config.output / "audit.json", audited)
    check_acknowledged(findings, config.acknowledge)
    return audited


def load_decoder(folder: Path | str) -> Decoder:
    """Open a folder that a decoder was saved in, whichever decoder it is.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds none, or one that this version does not know.
    """
    folder = Path(folder)
    if (folder / RECORD).is_file():
        name = read_record(folder)["decoder"]
    elif any((folder / file).is_file() for file in ("adapter.json", "model_index.json")):
        name = "dreamdiffusion"  # saved before decoders left a record, or by the pipeline alone
    else:
        raise no_decoder(folder)
    if name not in registry:
        raise ValueError(f"{folder} holds the unknown decoder {name!r}; known: {list(registry)}")
    return registry[name].load(folder)


def open_image_decoder(folder: Path | str) -> ImageDecoder:
    """Open a decoder that gives images.

    Raises
    ------
    FileNotFoundError, ValueError
        As `load_decoder`; also if the decoder in the folder gives no images.
    """
    decoder = load_decoder(folder)
    if not isinstance(decoder, ImageDecoder):
        raise ValueError(
            f"{folder} holds the decoder {decoder.name!r}, which gives no images but "
            f"{', '.join(sorted(decoder.gives))}; use dreamdiffusion decode"
        )
    return decoder
