"""Take a score apart: which words of the page each word of the question met, and where.

python examples/highlight.py [PICTURE.png]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from visret import Retriever

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())
picture = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "highlight.png"

with Retriever.create(folder / "samples.visret") as retriever:
    retriever.add(documents)
    question = "How much borrowed money has not been paid back yet?"
    hit = retriever.search(question, k=1)[0]
    why = retriever.heatmap(question, hit)
    print(f"{question}\n{hit.doc}, page {hit.page}: {hit.text}\n")

    # The score is a sum: each token of the question brings its best match on the page, which stands at one word.
    words, word_boxes = why.embedding.text.split(), why.embedding.word_boxes
    for token, value, similarities in zip(why.tokens, why.values, why.maps, strict=True):
        place = why.places[np.nanargmax(similarities)]
        word = words[np.abs(word_boxes - place).sum(axis=1).argmin()]
        print(f"{token:>10}  {value:5.2f}  {word}")
    print(f"{'sum':>10}  {why.values.sum():5.2f}  is the score of the page, {hit.score:.2f}\n")

    width, height = why.embedding.size_pt
    print("where most of it stands, in points from the top left corner:")
    for box in why.boxes[:3]:
        x0, y0, x1, y1 = box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height
        print(f"  {box.score:4.0%}  {x0:.0f}, {y0:.0f} to {x1:.0f}, {y1:.0f}")
    why.image().save(picture)
    print(f"\nThe page, marked: {picture}")
