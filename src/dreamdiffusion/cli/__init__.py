"""What is typed: commands, options, info, demo."""
