"""Device, random numbers, and the one training loop."""
