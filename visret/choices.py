"""The names that users choose from, kept apart so that the command prints its help without loading what they name."""

CODECS = {
    "float32": "as they are, 4 d bytes a vector of d dimensions",
    "float16": "11 bits of each number, 2 d",
    "int8": "8-bit integers and a scale, d + 4",
    "residual2": "ColBERTv2's codes: a centroid and two bits a dimension, d/4 + 4",
    "residual1": "a centroid and one bit a dimension, d/8 + 4",
    "binary": "signs, d/8",
}
"""The codecs that store a vector, from the largest to the smallest, with what they keep; `codec` implements them."""

DEFAULT_MODEL = "minilm-granite"
"""The model of an index if nobody names another; an entry of models.yaml."""

LATE_MODEL = "all-minilm-l6-v2"
"""The default model without the single vectors beside it; it was the default until December 2026."""

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

TOGETHER = "late+dense"
"""The way of ranking that adds the cosine of single vectors to late interaction's mean cosine."""

SCORERS = {
    LATE: "visret.search.late_interaction",
    "maxsim": "visret.search.maxsim",
    BM25: "visret.search.bm25",
    DENSE: "visret.search.dense",
    SPARSE: "visret.search.sparse",
    "poly": "visret.search.poly",
    "xtr": "visret.search.xtr",
}
"""The ways of ranking that score pages, with the modules that implement them (`search.scorers`)."""

WITHOUT_MODEL = (BM25,)
"""The scorers that take a question as it is typed, so that no model is loaded."""

WAYS = (*SCORERS, HYBRID, CASCADE, TOGETHER)
"""The ways of ranking that have names; `search.plans` implements those that fuse scorers."""

DEPTH = 50
"""The number of pages of a ranking that a reranker reads, if nobody chooses another."""

LOG_LEVELS = ("debug", "info", "warning", "error")
"""The levels of what `visret serve` logs, from the most to the least."""

OCR_MODES = ("auto", "never", "always")
"""The modes that decide on which pages the words of pictures are read; `ocr` implements them."""
