"""Files read without executing anything, written whole; the base of every schema."""
