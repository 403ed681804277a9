"""Take a score apart: which words of the page each word of the question met, and where.

python examples/highlight.py [PICTURE.png]
"""

import sys
import tempfile
from pathlib import Path

from visret import Retriever

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())
picture = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "highlight.png"

with Retriever.create(folder / "samples.visret") as retriever:
    retriever.add(documents)
    question = "How much borrowed money has not been paid back yet?"
    hit = retriever.search(question, k=1, by="late")[0]
    why = retriever.heatmap(question, hit)
    print(f"{question}\n{hit.doc}, page {hit.page}: {hit.text}\n")

    # The score is a sum: each token of the question brings its best match on the page, which stands at one word, and a
    # long page, which has more to match, loses a little.
    for token, value, best in zip(why.tokens, why.values, why.table.best, strict=True):
        print(f"{token:>10}  {value:5.2f}  {why.table.places[best]}")
    print(f"{'length':>10}  {why.length:5.2f}  for the length of the page")
    print(f"{'sum':>10}  {why.score:5.2f}  is the score of the page, {hit.score:.2f}\n")

    print("where most of it stands, in points from the top left corner:")
    for box in why.boxes_pt[:3]:
        print(f"  {box.score:4.0%}  {box.x0:.0f}, {box.y0:.0f} to {box.x1:.0f}, {box.y1:.0f}")
    why.image(mode="attribution").save(picture)
    print(f"\nThe page, marked: {picture}")
