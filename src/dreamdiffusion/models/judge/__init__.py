"""The independent classifier that names what a picture shows."""
