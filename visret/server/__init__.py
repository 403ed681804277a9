"""The server: visret in a browser, over HTTP, and as tools of language models."""
