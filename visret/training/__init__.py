"""The training of models on the pages of an index, and of visret's own models, for anyone to run again."""
