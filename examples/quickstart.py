"""Index the sample documents, ask them something, and draw the page that answers.

python examples/quickstart.py
"""

import tempfile
from pathlib import Path

from visret import Retriever

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())

with Retriever.create(folder / "samples.visret") as retriever:
    report = retriever.add(documents)
    print(f"{report.pages} pages of {report.added} documents in {report.seconds:.1f} s")

    question = "Why did the wind farm produce less in spring?"
    hits = retriever.search(question, k=3)
    for hit in hits:
        print(f"{hit.rank}. {hit.doc}, page {hit.page}  {hit.score:.2f}  {hit.text}")

    why = retriever.heatmap(question, hits[0])
    for box in why.boxes[:3]:
        print(f"   {box.score:.0%} of the score between ({box.x0:.2f}, {box.y0:.2f}) and ({box.x1:.2f}, {box.y1:.2f})")
    why.image().save(folder / "why.png")
    print(folder / "why.png")
