"""One page: a recording, a model, a picture; for somebody who does not program."""
