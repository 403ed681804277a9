"""Two small networks of our own that read pictures of pages: where its lines are, and what each says."""
