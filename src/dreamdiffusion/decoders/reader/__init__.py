"""What the EEG says in labels and embeddings: a small network, trained in a minute."""
