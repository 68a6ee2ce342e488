"""One file or folder for each way from trials to an answer, behind one contract."""
