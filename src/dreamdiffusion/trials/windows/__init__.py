"""Unlabelled windows of many people and montages, on disk and at random."""
