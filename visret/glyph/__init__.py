"""Two small networks of our own that read pictures of pages: where its lines are, and what each says."""

DPI = 144  # at which they are given a page; and of a picture that does not say its own
