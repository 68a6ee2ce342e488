"""One command for a recording of one's own: `run`, its steps, its sizes and its words."""
