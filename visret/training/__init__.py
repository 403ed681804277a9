"""The training of visret's own models, for anyone to run again."""
