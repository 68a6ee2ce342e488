"""The stage `finetune`: DreamDiffusion on EEG-image pairs (paper 3.2, 3.3).

From trials, a generator and perhaps a pre-trained encoder to a model that
`EEGToImagePipeline.from_pretrained` opens. What is paired says `pairs`, what is trained `loss`.
"""

from __future__ import annotations

from pathlib import Path

from dreamdiffusion.decoders.config import FinetuneConfig
from dreamdiffusion.decoders.dreamdiffusion.decoder import DreamDiffusion, LoadPairs
from dreamdiffusion.decoders.dreamdiffusion.pairs import load_pairs
from dreamdiffusion.decoders.fit import fit_stage
from dreamdiffusion.files.keywords import with_keywords
from dreamdiffusion.files.output import RESUMES, writes_output


@with_keywords(FinetuneConfig)
@writes_output(RESUMES)
def finetune(config: FinetuneConfig, load: LoadPairs = load_pairs) -> Path:
    """Fine-tune on the training trials and write ``output/model``; resumes if it was stopped.

    ``output/model`` is what `EEGToImagePipeline.from_pretrained` opens; it also holds
    ``split.json``, ``audit.json`` and the baselines, fitted on the same training trials. The test
    trials are neither trained nor validated on.

    Parameters
    ----------
    config
        Or its fields as keywords.
    load
        What encodes the pictures; many fine-tunings on the same ones need it only once.

    Raises
    ------
    FileNotFoundError, ValueError
        If trials, generator, pre-trained encoder or any picture are missing or do not fit, or the
        audit has a severe finding that ``config.acknowledge`` does not name.
    """
    return fit_stage(config, lambda trials, split: DreamDiffusion.fit(trials, split, config, load))
