"""visret as a retriever for other frameworks: one module for each, which needs its framework when it is imported."""
