"""The names that users choose from, kept apart so that the command prints its help without loading what they name."""

CODECS = ("float32", "float16", "int8", "residual2", "residual1", "binary")
"""The codecs that store a vector, from the largest to the smallest; `codec` implements them."""

DEFAULT_MODEL = "all-minilm-l6-v2"
"""The model of an index if nobody names another; an entry of models.yaml."""

NO_MODEL = "none"
"""The name that stands for no model: an index without vectors, which BM25 searches by words."""

QUALITY_MODEL = "quality"
"""The model for those to whom more right pages are worth more time; an entry of models.yaml."""

LATE = "late"
"""The way of ranking by late interaction, with a correction for the length of pages."""

BM25 = "bm25"
"""The way of ranking of an index that no model made: by the words of pages."""

DENSE = "dense"
"""The way of ranking by one vector for a question and a few for a page.

They are those of a model that was added to the index, or else the means of what late interaction compares.
"""

SPARSE = "sparse"
"""The way of ranking by learned sparse vectors, such as SPLADE's, of a model that was added to the index."""

KINDS = (DENSE, SPARSE)
"""The kinds of vectors that a model can add to an index, by the way of ranking that uses them."""

RERANK = "rerank"
"""The name under which `Hit.scores` has the score of a reranker."""

HYBRID, CASCADE = "hybrid", "cascade"
"""The ways of ranking that fuse late interaction and BM25: on the best pages of both, or on those of BM25."""

WAYS = (LATE, "maxsim", BM25, DENSE, SPARSE, "poly", "xtr", HYBRID, CASCADE)
"""The ways of ranking that have names; `search.scorers` and `search.plans` implement them."""

DEPTH = 50
"""The number of pages of a ranking that a reranker reads, if nobody chooses another."""

OCR_MODES = ("auto", "never", "always")
"""The modes that decide on which pages the words of pictures are read; `ocr` implements them."""
