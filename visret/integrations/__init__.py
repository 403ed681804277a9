"""visret as the retriever of other frameworks: one module each, which needs its framework when it is imported."""
