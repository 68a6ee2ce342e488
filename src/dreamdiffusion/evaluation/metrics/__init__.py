"""The scores of images and embeddings, ours and the published suites."""
