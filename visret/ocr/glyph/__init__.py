"""Two small networks of our own that read pictures of pages: one finds the lines, the other reads each."""

DPI = 144  # at which pages are given to them; also assumed for a picture that does not state its own
READING = 3  # raised when the same weights read differently: cached pages of another number are read again
