"""The command `live`: a stream of EEG -> images as they are decoded, and a recording."""
