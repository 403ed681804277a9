"""The quality of retrievers, measured on questions whose right pages are known.

    run(retriever, {"What did it cost?": [("a.pdf", 3)]})       a table of one retriever, for a few questions in Python
    compare([system_of(retriever)], read("questions.csv"))      several systems side by side, with what is noise

Importing this package loads NumPy alone. Each module imports only modules above it in this list:

    lists          nDCG, recall and MRR of one ranking that is a plain list
    known          questions that are written in Python, and how well a retriever answers them
    questions      questions with graded right pages, each with an id; how pages are named in TREC's files
    tables         lines of files as questions: CSV, JSON lines, TREC's qrels and topics
    benchmarks     folders as questions: BEIR's, and those of ViDoRe's shape; their pages, for an index
    reading        the kind of a file or folder of questions, and its reader
    systems        systems that rank pages: indexes, run files, functions; their rankings, and how long they take
    measures       nDCG, recall and others of rankings, by ir-measures
    significance   tests of whether a difference may be noise
    comparison     several systems on the same questions: the measures, the differences, the table
    page           the questions that got worse, as an HTML page with pictures
"""

from visret.evaluate.benchmarks import pages as pages
from visret.evaluate.comparison import Comparison as Comparison
from visret.evaluate.comparison import Measured as Measured
from visret.evaluate.comparison import compare as compare
from visret.evaluate.known import Evaluation as Evaluation
from visret.evaluate.known import Result as Result
from visret.evaluate.known import run as run
from visret.evaluate.lists import ndcg as ndcg
from visret.evaluate.lists import recall as recall
from visret.evaluate.lists import reciprocal_rank as reciprocal_rank
from visret.evaluate.questions import JudgedQuestion as JudgedQuestion
from visret.evaluate.questions import QuestionSet as QuestionSet
from visret.evaluate.questions import Target as Target
from visret.evaluate.reading import read as read
from visret.evaluate.significance import Difference as Difference
from visret.evaluate.systems import Found as Found
from visret.evaluate.systems import Rankings as Rankings
from visret.evaluate.systems import System as System
from visret.evaluate.systems import read_run as read_run
from visret.evaluate.systems import system_of as system_of
from visret.evaluate.systems import write_run as write_run
