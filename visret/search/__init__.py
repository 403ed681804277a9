"""From questions to hits: what ranks the pages of an index, and what is said of those that were found."""
