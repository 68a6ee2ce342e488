"""Decode held-out trials, score them beside controls, say how sure each is."""
