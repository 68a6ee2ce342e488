"""From what the EEG says to pictures: a posterior over a bank of pictures that nobody saw."""
