"""A page that shows pictures to a person whose EEG is recorded, and says when each was seen."""
