"""What a search can be asked for."""

EVERY_WORD = {
    "by": "hybrid",
    "exact": True,
    "offset": 1,
    "group_by": "document",
    "neighbours": 1,
    "weak": False,
    "min_score": 0.25,
    "rerank": "judge",
    "depth": 7,
    "seconds": 9.0,
}
"""Every argument of a search but the question, `k` and `where`, with a value that is not the usual one."""
