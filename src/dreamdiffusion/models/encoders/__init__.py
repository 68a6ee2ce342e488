"""EEG -> tokens -> embedding, and masked signal modelling."""
