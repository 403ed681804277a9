"""Measure a retriever on questions whose right pages you know: nDCG, recall and MRR.

python examples/evaluation.py
"""

import tempfile
from pathlib import Path

from visret import Retriever, evaluate

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())

# Each question with the pages that answer it. scan.pdf has no text layer: without OCR, this model cannot find it.
questions = {
    "cracked roller in the main bearing of Bittern": [("report.pdf", 3)],
    "Which machine gets less breeze because a building is in the way?": [("report.pdf", 3)],
    "How is real production compared with the theoretical maximum?": [("report.pdf", 5)],
    "How much borrowed money has not been paid back yet?": [("report.pdf", 8)],
    "drawing of a wire ladder held against the trunk of a tree": [("two_column.pdf", 1)],
    "How expensive was the whole study?": [("two_column.pdf", 3)],
    "letter with a RECEIVED stamp and a small sailing boat": [("scan.pdf", 1)],
}

with Retriever.create(folder / "samples.visret") as retriever:
    retriever.add(documents, ocr="never")
    print(evaluate.run(retriever, questions, k=5))
