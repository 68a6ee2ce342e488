"""Public data sets: one file each, one contract (`base`), one registry (`registry`)."""
