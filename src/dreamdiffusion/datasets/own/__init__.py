"""Recordings of one's own, and the pictures that were shown, as a BIDS data set."""
