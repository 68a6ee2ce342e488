"""What a score is worth: its record, audit, statistics, protocols, looks, headline."""
