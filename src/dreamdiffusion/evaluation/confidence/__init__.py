"""Confidence: the probability that a trial is right; calibration: how well that holds."""
