"""visret in a browser."""
