"""Questions about the documents in examples/documents, with the page that answers each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "examples" / "documents"


class Question(NamedTuple):
    """kind: lexical (the page uses its words), paraphrase (it does not), visual (the answer is seen, not read).

    passage: the words that answer it, as they stand on the page, one after the other; "" where they are in a picture.
    """

    text: str
    doc: str
    page: int
    kind: str
    passage: str

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.passage.split())


QUESTIONS = (
    Question(
        "cracked roller in the main bearing of Bittern",
        "report.pdf",
        3,
        "lexical",
        "The inspection found a cracked roller in the main bearing.",
    ),
    Question(
        "Which machine gets less breeze because a building is in the way?",
        "report.pdf",
        3,
        "paraphrase",
        "Dunlin stands in the wake of the grain silo.",
    ),
    Question(
        "May somebody who invests more money decide more?",
        "report.pdf",
        2,
        "paraphrase",
        "Every member has one vote, whatever the number of shares:",
    ),
    Question(
        "bar chart of the electricity delivered year by year",
        "report.pdf",
        4,
        "visual",
        "Electricity delivered by all six turbines, year by year",
    ),
    Question(
        "How is real production compared with the theoretical maximum?",
        "report.pdf",
        5,
        "paraphrase",
        "The capacity factor is the share of this imagined amount which was really delivered.",
    ),
    Question(
        "lightning receptors measured with drone and earth tester",
        "report.pdf",
        6,
        "lexical",
        "Lightning receptors measured 4 hours each 1 technician Rope Drone, earth tester",
    ),
    Question(
        "In which months are people kept away from the breeding seabirds?",
        "report.pdf",
        7,
        "paraphrase",
        "Terns breed on the gravel bank north of Fulmar. From 1 April to 31 July nobody may land there,",
    ),
    Question(
        "fixed price of 84 euros per megawatt hour",
        "report.pdf",
        8,
        "lexical",
        "fixed price of 84 euros per megawatt hour.",
    ),
    Question(
        "How much borrowed money has not been paid back yet?",
        "report.pdf",
        8,
        "paraphrase",
        "4.7 million euros are still owed to the bank.",
    ),
    Question(
        "sulphur dioxide from burning coal",
        "two_column.pdf",
        1,
        "lexical",
        "sulphur dioxide from burning coal.",
    ),
    Question(
        "drawing of a wire ladder held against the trunk of a tree",
        "two_column.pdf",
        1,
        "visual",
        "The ladder on the trunk.",
    ),
    Question(
        "Why were the trees so poor where buses stood with their motors running all night?",
        "two_column.pdf",
        2,
        "paraphrase",
        "The engines used to idle through the night before the first tour;",
    ),
    Question(
        "How expensive was the whole study?",
        "two_column.pdf",
        3,
        "paraphrase",
        "All of it cost the city 4,800 euros,",
    ),
    Question("letter with a RECEIVED stamp and a small sailing boat", "scan.pdf", 1, "visual", ""),
    Question("form with ticked boxes and a table of fees filled in by hand", "scan.pdf", 2, "visual", ""),
)
