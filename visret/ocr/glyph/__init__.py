"""Two small networks of our own that read pictures of pages: where its lines are, and what each says."""

DPI = 144  # at which they are given a page; and of a picture that does not say its own
READING = 3  # counts the changes to what the same weights read: pages in the cache of another number are read again
