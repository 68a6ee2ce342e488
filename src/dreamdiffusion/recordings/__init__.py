"""Any EEG file -> `Recording`, and its clean signal."""
