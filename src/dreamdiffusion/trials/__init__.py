"""Recordings -> labelled trials and unlabelled windows; splits, averages, scale."""
