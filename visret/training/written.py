"""Questions that a language model writes for windows of pages, each kept as it comes: asking again costs time or money.

writer = Writer(llm.named("http://localhost:11434/v1", "llama3"), Path("written.jsonl"))
writer("A bittern is a heron that hides in reeds.")    # which bird hides in reeds?
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from visret.server.llm import LanguageModel

__all__ = ["Writer"]

_ASK = (
    "Here is a part of a page:\n\n{text}\n\nWrite one short question that somebody who does not know this page might "
    "ask, and that it answers. Use other words than the page where you can. Answer with the question alone."
)


class Writer:
    """A language model that writes a question for a text.

    file: the questions that it has written, JSON lines, which are not asked for again.
    """

    def __init__(self, model: LanguageModel, file: Path) -> None:
        self._model = model
        self._file = file
        lines = file.read_text("utf-8").split("\n")[:-1] if file.is_file() else []  # without one that was cut off
        self._known: dict[str, str] = {said["text"]: said["question"] for said in map(json.loads, lines)}
        if file.is_file():
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def __call__(self, text: str) -> str:
        """Return a question that the text answers; "" if the model says nothing. Raises LanguageModelError."""
        if text not in self._known:
            self._known[text] = asyncio.run(self._asked(text))
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"text": text, "question": self._known[text]}) + "\n")
        return self._known[text]

    async def _asked(self, text: str) -> str:
        pieces = [piece async for piece in self._model.stream([{"role": "user", "content": _ASK.format(text=text)}])]
        return next((line.strip().strip('"') for line in "".join(pieces).splitlines() if line.strip()), "")
