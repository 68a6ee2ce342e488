"""Streams of EEG as they are recorded: sources, gaps, the recording on the disk, signal quality."""
