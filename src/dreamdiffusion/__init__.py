"""DreamDiffusion: images of what a person was looking at, from EEG (arXiv 2306.16934)."""

__version__ = "0.1.0"
