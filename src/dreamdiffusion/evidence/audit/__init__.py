"""What in data or split could fake a score."""
