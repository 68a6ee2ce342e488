"""Simulated input: drawn pictures with captions, and the simulated EEG that they evoke."""
