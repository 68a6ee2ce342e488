"""What the EEG says in words, drawn by a generator from text."""
