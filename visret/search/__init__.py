"""The path from questions to hits: scorers rank the pages of an index, and what was found is explained."""
