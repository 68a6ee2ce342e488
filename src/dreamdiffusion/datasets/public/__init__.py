"""The public data sets, one file each, behind one contract."""
