"""The lines between questions about what an index holds and all others, measured in the index itself.

The more pages there are, the better the best of them matches a question about something else. So questions on everyday
subjects are put to the index. A floor is what their pages reach only in one of ten cases (QUANTILE): one for the best
page, and one for the mean of the first few (`visret.search.weakness`). The mean match of few tokens is more often high
by chance than that of many, so there are floors for short questions and for long ones.
"""

from __future__ import annotations

import numpy as np

from visret.choices import LATE
from visret.index import Snapshot
from visret.index.catalogue import Floor
from visret.search.pipeline import Pipeline
from visret.search.weakness import SEVERAL, strength
from visret.types import Matches, ModelSpec

SHORT = """
how to bake bread at home; apple pie recipe; which wine goes with fish; how long to boil an egg; vegetarian dinner
ideas; rules of football offside; how to train for a marathon; best tennis players of all time; swimming technique for
beginners; olympic games medal table; symptoms of the flu; treatment of high blood pressure; how to lose weight;
causes of headache; vaccination of infants; tenant rights on eviction; how to write a will; punishment for theft;
divorce and custody of children; copyright of photographs; who composed the four seasons; how to play the guitar;
history of rock music; famous opera singers; piano lessons for children; holidays in Italy; flights to New York;
hotels near the beach; visa for a visit to China; what to see in London; how to grow roses; when to prune apple trees;
keeping chickens in the garden; how to feed a kitten; training of dogs; causes of the first world war; kings of
France; ancient Egypt pyramids; discovery of America; fall of the Berlin wall; how to save money; buying a used car;
mortgage rates for a house; stock market crash; how to file a tax return; how do volcanoes form; distance to the moon;
why is the sky blue; life of dinosaurs; weather forecast for tomorrow; election of the president; duties of a member
of parliament; religion and prayer; wedding dress styles; how to raise teenagers; repair of a leaking tap; painting
the walls of a room; sewing a skirt; job interview advice; learning a foreign language
""".replace("\n", " ").split(";")

LONG = """
what temperature and how many minutes does a loaf of sourdough bread need in a home oven; which pieces of clothing
should a beginner buy before running a first marathon in winter; at what age should a child see a doctor because of
fever that lasts longer than three days; how much notice must a landlord give before raising the rent of a furnished
apartment; which cities did the Beatles visit on their first concert tour through the United States; how long does the
ferry take from Naples to the islands and where can tickets be bought; what is the right season to cut back roses and
how many buds should stay on each branch; why did the harvest fail in Ireland and how many people left the country
afterwards; how is the interest on a savings account taxed when both husband and wife earn money; why do the leaves of
trees turn red and yellow in autumn before they fall to the ground; how many votes does a candidate need to become
mayor of a city with two rounds of voting; which screws and anchors hold a heavy bookshelf on a wall made of
plasterboard; what should I do when my dog has eaten chocolate and does not want to drink; how can a teacher calm a
class of young pupils after the lunch break; which vegetables grow well in the shade of a wall without much water; how
are the players of a football team paid when they are injured for a whole season; who painted the ceiling of the
chapel and how long did he work on it; what papers does a foreign couple need to get married in Scotland; how does a
refrigerator make cold air and why does the back of it become warm; how many calories does a grown man burn while
walking uphill for an hour
""".replace("\n", " ").split(";")

QUANTILE = 0.9
LEAST = 32  # pages; with fewer, the line of the model is enough, and nobody waits
GROWTH = 1.5  # times the pages that it was measured on: then it is measured anew


def fits(spec: ModelSpec) -> bool:
    """Return whether the mark of weak hits can be measured: the model reads English words, and has a line for it."""
    return spec.modality == "text" and spec.options.get("weak_below") is not None and "en" in spec.languages


def is_due(snapshot: Snapshot, *, compacted: bool = False) -> bool:
    """Return whether the floor is unknown, or was measured when there were far fewer pages or other vectors."""
    pages, floor = len(snapshot), snapshot.floor
    if not pages or not snapshot.model.makes_vectors:
        return False
    return pages >= LEAST if floor is None else compacted or pages >= GROWTH * floor.pages


def measured(pipeline: Pipeline) -> Floor:
    """Measure the floors of an index with pages. It takes as long as 80 questions together."""
    best, several = [], []
    scorer, snapshot = pipeline.scorer(LATE), pipeline.snapshot
    asked = pipeline.read([*SHORT, *LONG])
    for question, found in zip(asked, scorer.rank(asked, SEVERAL, snapshot.select()), strict=True):
        content = pipeline.query(question).content
        reached = []
        for key in found.keys.tolist():
            why = scorer.explain(question, key)
            assert isinstance(why, Matches)
            reached.append(strength(why.values, content))
        best.append(max(reached))
        several.append(float(np.mean(reached)))
    count = len(SHORT)
    floors = (float(np.quantile(some, QUANTILE)) for all_ in (best, several) for some in (all_[:count], all_[count:]))
    return Floor(len(snapshot), *floors)
