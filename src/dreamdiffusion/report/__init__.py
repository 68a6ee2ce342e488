"""Scores -> pictures and one HTML page."""
