"""Protocols: files that say how a score is made, what one holds, and whether a run follows it."""
