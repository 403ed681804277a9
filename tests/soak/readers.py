"""Readers search while a writer adds and removes: python tests/soak/readers.py [DOCUMENTS] [--readers 5]

The writer brings in documents made in memory, replaces and removes some, and notes what each commit leaves. Every
reader, a process of its own, refreshes and asks, again and again. What it sees must be what some commit left, never an
earlier one than before, and its answer the ten best pages of that, with their scores, computed by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from visret import Page, Retriever, load_encoder  # noqa: E402
from visret.maxsim import page_scores  # noqa: E402

QUESTIONS = ("red blue", "yellow", "green magenta white", "cyan")
PAGES = 3  # of a document
AT_ONCE = 8  # documents a commit
STOP = "stop"  # a file that ends the readers


def pages_of(doc: str, version: int) -> list[Page]:
    """Two colours each, which follow from the name and the version."""
    made = []
    for number in range(1, PAGES + 1):
        colours = np.frombuffer(hashlib.sha256(f"{doc} {version} {number}".encode()).digest()[:6], np.uint8)
        image = Image.fromarray(np.repeat(np.repeat(colours.reshape(1, 2, 3), 16, axis=0), 8, axis=1))
        made.append(Page.from_image(image, doc=doc, page=number))
    return made


@cache
def encoder():
    """The one of every process here."""
    return load_encoder("toy")


@cache
def score(doc: str, version: int, page: int, question: str) -> float:
    """By hand."""
    (query,) = encoder().encode_queries([question])
    (made,) = encoder().encode_pages([pages_of(doc, version)[page - 1]])
    return float(page_scores(query.vectors, made.vectors, np.array([0, len(made.vectors)]))[0])


def digest(state: Mapping[str, int]) -> str:
    """Of the documents and their versions."""
    return hashlib.sha256(json.dumps(sorted(state.items())).encode()).hexdigest()


def write(index: Path, documents: int, seed: int) -> list[str]:
    """Add and remove so many documents; digests of what each commit left, the empty index first."""
    rng = random.Random(seed)
    state: dict[str, int] = {}
    states = [digest(state)]
    with Retriever.open(index, model=encoder()) as retriever:
        added = removed = 0
        while removed < documents:
            if added < documents and (len(state) < 5 * AT_ONCE or rng.random() < 0.6):
                new = {f"{added + i}.pdf": 0 for i in range(min(AT_ONCE, documents - added))}
                changed = {doc: state[doc] + 1 for doc in rng.sample(sorted(state), min(len(state), 2))}
                for version in sorted({*new.values(), *changed.values()}):
                    some = [doc for doc, its in {**new, **changed}.items() if its == version]
                    retriever.add_pages(
                        [page for doc in some for page in pages_of(doc, version)], metadata={"version": version}
                    )
                    state.update(dict.fromkeys(some, version))
                    states.append(digest(state))
                added += len(new)
            else:
                gone = rng.sample(sorted(state), min(len(state), rng.randint(1, AT_ONCE)))
                retriever.remove(gone)
                removed += len(gone)
                for doc in gone:
                    del state[doc]
                states.append(digest(state))
    return states


def read(index: Path, out: Path) -> None:
    """Ask until the file STOP is there, and write down what was seen."""
    seen: list[str] = []
    answers = 0
    with Retriever.open(index, model=encoder()) as retriever:
        while not (out.parent / STOP).exists():
            retriever.refresh()
            versions = {d.doc: d.metadata["version"] for d in retriever._index.snapshot.documents()}
            for question in QUESTIONS:
                every = [(doc, version, page) for doc, version in versions.items() for page in range(1, PAGES + 1)]
                right = sorted((score(*place, question) for place in every), reverse=True)[:10]
                hits = retriever.search(question, k=10)
                got = [hit.scores["late"] for hit in hits]  # the pages are of one length
                assert np.allclose(got, right, rtol=0, atol=1e-5), f"{question}: {got}, not {right}"
                for hit in hits:
                    assert hit.metadata["version"] == versions[hit.doc], f"{hit.ref} is of another version"
                    own = score(hit.doc, versions[hit.doc], hit.page, question)
                    assert abs(own - hit.scores["late"]) < 1e-5, f"{hit.ref}: {hit.scores}, not {own}"
                answers += 1
            if not seen or seen[-1] != digest(versions):
                seen.append(digest(versions))
    out.write_text(json.dumps({"seen": seen, "answers": answers}), "utf8")


def soak(folder: Path, documents: int, *, readers: int, seed: int = 0) -> dict[str, int]:
    """Run them; counts of what was done and seen."""
    index = folder / "index"
    Retriever.create(index, model=encoder(), codec="float32").close()
    outs = [folder / f"reader {number}.json" for number in range(readers)]
    processes = [subprocess.Popen([sys.executable, __file__, "--read", str(index), str(out)]) for out in outs]
    try:
        states = write(index, documents, seed)
    finally:
        (folder / STOP).touch()
        failed = [process.wait(600) for process in processes]
    assert not any(failed), "a reader failed, see above"
    place = {state: number for number, state in enumerate(states)}
    told = [json.loads(out.read_text("utf8")) for out in outs]
    for reader in told:
        assert set(reader["seen"]) <= set(place), "a reader saw what no commit left"
        # a state may come twice, as the empty one does: only those that are unique have an order
        order = [place[state] for state in reader["seen"] if states.count(state) == 1]
        assert order == sorted(order), "a reader went back"
    with Retriever.open(index, model=encoder()) as retriever:
        assert retriever._index.verify() == []
        assert retriever.documents() == []
    return {
        "commits": len(states) - 1,
        "answers": sum(reader["answers"] for reader in told),
        "states seen": len({state for reader in told for state in reader["seen"]}),
    }


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="?", type=int, default=1000)
    parser.add_argument("--readers", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--read", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read(*arguments.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(soak(Path(folder), arguments.documents, readers=arguments.readers, seed=arguments.seed))


if __name__ == "__main__":
    main()
