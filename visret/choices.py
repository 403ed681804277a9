"""Names that users choose from: kept apart, so that the help of the command is printed without what they stand for."""

CODECS = ("float32", "float16", "int8", "residual2", "residual1", "binary")
"""How a vector is stored, from the largest to the smallest; `codec` does it."""

DEFAULT_MODEL = "all-minilm-l6-v2"
"""The model of an index where nobody says otherwise; an entry of models.yaml."""

QUALITY_MODEL = "quality"
"""The model for whom more right pages are worth more time; an entry of models.yaml."""

OCR_MODES = ("auto", "never", "always")
"""Which pages have the words of their pictures read; `ocr` does it."""
