"""The networks, and how each is trained: encoders, generator, judge."""
