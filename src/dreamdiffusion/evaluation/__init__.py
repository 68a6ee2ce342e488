"""Decode held-out trials, score them beside controls, rate the confidence of each."""
