"""The rivals: decoders that every new one is compared with, on the same trials."""
