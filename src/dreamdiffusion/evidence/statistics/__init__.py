"""Which trials may change places; intervals, p, averages of trials."""
