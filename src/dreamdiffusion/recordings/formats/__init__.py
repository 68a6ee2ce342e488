"""What MNE does not read by itself, or reads without checking: one file a format."""
