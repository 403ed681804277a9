"""Ask a language model about documents, and mark on the pages what it cites.

python examples/rag.py                                                  a stand-in for a model (stand_in.py)
python examples/rag.py http://localhost:11434/v1 MODEL [QUESTION]       a server that speaks OpenAI's protocol

A server's key is taken from OPENAI_API_KEY.
"""

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from urllib.request import Request, urlopen

from stand_in import serving

from visret import Retriever, rag

documents = Path(__file__).parent / "documents"
folder = Path(tempfile.mkdtemp())
given = dict(enumerate(sys.argv))
url, model = given.get(1, ""), given.get(2, "stand-in")
question = given.get(3, "What did the inspection of the main bearing of Bittern find?")

with Retriever.create(folder / "samples.visret") as retriever, nullcontext(url) if url else serving() as base:
    retriever.add(documents)

    def ask(messages: rag.Messages) -> str:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY')}"}
        body = json.dumps({"model": model, "messages": messages}).encode()
        with urlopen(Request(f"{base}/chat/completions", body, headers)) as response:
            return json.load(response)["choices"][0]["message"]["content"]

    answer = rag.answer(question, retriever, ask, k=3, total_pixels=2_000_000)
    print(f"{question}\n\n{answer.text}\n")
    for citation in answer.citations:
        if citation.hit is None:
            print(f"[{citation.number}] is no page that the model was shown")
            continue
        hit, why = citation.hit, citation.why
        print(f"[{citation.number}] {hit.doc}, page {hit.page}: {why.line}")
        for box in citation.boxes[:2]:
            print(f"    {box.score:4.0%} at ({box.x0:.2f}, {box.y0:.2f}) to ({box.x1:.2f}, {box.y1:.2f})")
        if why.embedding.size_pt:  # plain text has no picture
            picture = folder / f"{citation.start}.png"
            why.image().save(picture)
            print(f"    {picture}")
