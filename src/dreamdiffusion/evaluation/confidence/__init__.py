"""How sure each trial is, and how far that can be trusted."""
