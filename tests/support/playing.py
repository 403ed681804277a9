"""A run that reads files, played in no time: threads are generators, and the clock goes from one event to the next."""

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field

from visret.ingest.costs import BLIND, LOADING, WORDS, File, Look
from visret.ingest.forecast import Forecast

BATCH_PAGES, BATCH_SECONDS = 32, 10.0  # as in ingest
SECOND_A_WORD = 0.00015


@dataclass
class Doc:
    """A file as it is. pages: of each its look, and the seconds that it takes to be read."""

    pages: list
    kind: str = "pdf"
    size: int = 50_000
    opening: float = 0.005
    converts: bool = False
    encoding: float = SECOND_A_WORD


@dataclass
class Play:
    """A run; afterwards `now` says how long it took, and `told` what was said: (when, seconds left)."""

    docs: list
    lanes: int = 1
    engine: str = "rapidocr"
    scouted: bool = True
    room: int = 600  # pages
    warming: float = 0.5
    every: float | None = None
    now: float = 0.0
    over: bool = False
    tries: int = 0
    told: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    ended: dict = field(default_factory=dict)  # when each file was read
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def run(self):
        """Play it to its end."""
        files = [File(str(i), doc.kind, doc.size, converts=doc.converts) for i, doc in enumerate(self.docs)]
        how = {"lanes": self.lanes, "ocr": "auto", "engine": self.engine, "room": self.room * 1000, "cores": 10_000}
        self.forecast = Forecast(files, clock=lambda: self.now, **how)
        self.buffers = [[] for _ in range(self.lanes)]
        self.due, self.blocked, self.count = [], [], itertools.count()
        threads = [self.encode_all(), *map(self.read, range(self.lanes))]
        threads += [self.scout()] * self.scouted + [self.watch()] * bool(self.every)
        for thread in threads:
            self.advance(thread)
        while not self.over:
            self.now, _, thread = heapq.heappop(self.due)
            self.advance(thread)
            for waiting in self.blocked[:]:
                if waiting[0]():
                    self.blocked.remove(waiting)
                    self.advance(waiting[1])
        return self

    def advance(self, thread):
        """Until it sleeps, or waits for something that is not so."""
        for wish in thread:
            if not callable(wish):
                heapq.heappush(self.due, (self.now + wish, next(self.count), thread))
                return
            if not wish():
                self.blocked.append((wish, thread))
                return

    def read(self, lane):
        buffer, loaded = self.buffers[lane], False
        for i in range(lane, len(self.docs), self.lanes):
            doc, key = self.docs[i], str(i)
            self.forecast.begins(lane, key)
            yield doc.opening
            self.forecast.came(lane, None)
            self.forecast.opened(key, len(doc.pages))
            for number, (look, seconds) in enumerate(doc.pages, 1):
                self.forecast.begins(lane, key)
                first = look.page_class == BLIND and not loaded
                cores = (1.8 if look.page_class == BLIND else 1) * seconds + first * LOADING[self.engine]
                yield seconds + first
                loaded |= look.page_class == BLIND
                self.forecast.came(lane, look, number=number, size=1000, core_seconds=cores)
                yield lambda: len(buffer) < self.room / self.lanes
                buffer.append((look, doc.encoding * look.encoding))
            self.forecast.ended(lane, key)
            self.ended[key] = self.now
            buffer.append(None)

    def encode_all(self):
        batch, since = [], self.now
        for i in range(len(self.docs)):
            buffer = self.buffers[i % self.lanes]
            while True:
                yield buffer.__len__
                if (item := buffer.pop(0)) is None:
                    break
                batch.append(item)
                if len(batch) == BATCH_PAGES or self.now - since > BATCH_SECONDS:
                    yield from self.encode(batch)
                    batch, since = [], self.now
        yield from self.encode(batch)
        self.over = True

    def encode(self, batch):
        self.forecast.encoding([look for look, _ in batch])
        yield sum(seconds for _, seconds in batch) + self.warming
        self.warming = 0
        self.forecast.encoded()

    def scout(self):
        yield 1.0
        spent = 0.0
        largest = sorted(range(len(self.docs)), key=lambda i: -self.docs[i].size)
        any_ = self.chance.sample(largest, len(largest))
        for i in dict.fromkeys(itertools.chain.from_iterable(zip(largest, any_, strict=True))):
            while spent > min(max(0.2, 0.025 * (self.now + self.forecast.left())), 1 + 0.2 * self.now):
                yield 0.5
            if self.docs[i].kind not in ("pdf", "picture") or not self.forecast.is_unknown(str(i)):
                continue
            pages = self.docs[i].pages
            numbers = spread(len(pages), min(12, math.isqrt(len(pages) - 1) + 1))
            if 0 < sum(pages[n - 1][0].page_class == BLIND for n in numbers) < len(numbers):
                numbers = {*numbers, *spread(len(pages), min(len(pages), 24))}
            looks = {n: self.look(pages[n - 1][0]) for n in numbers}
            cost = 0.003 + 0.005 * len(looks) + 0.06 * min(2, sum(look.page_class == BLIND for look in looks.values()))
            spent += cost
            yield 2 * cost
            self.forecast.looked(str(i), len(pages), looks)
            self.seen += [page for page in pages if page[0].page_class == BLIND]
            yield from self.try_ocr()
        while not self.forecast.knows_ocr and self.tries < 3:
            yield from self.try_ocr()
            yield 1.0

    def try_ocr(self):
        fits = self.forecast.ahead_of_ocr() > max(30, self.forecast.left() / 4)
        if self.seen and fits and not self.forecast.knows_ocr and self.tries < 3:
            look, seconds = self.chance.choice(self.seen)
            yield 2 * seconds
            self.forecast.tried(self.look(look), seconds * 1.8, loaded=True)
            self.tries += 1

    def look(self, page):
        """What can be seen of a page before it is read."""
        return (
            page._replace(words=page.words * self.chance.lognormvariate(0, 0.3)) if page.page_class == BLIND else page
        )

    def watch(self):
        while True:
            yield self.every
            self.told.append((self.now, self.forecast.left()))


def spread(pages, count):
    return [(2 * k + 1) * pages // (2 * count) + 1 for k in range(count)]


def played(docs, points=40, **how):
    """(share of the run, seconds that were said to be left, seconds that were) at so many points; and the run."""
    total = Play(docs, scouted=False, **how).run().now
    play = Play(docs, every=total / points, **how).run()
    return [(now / play.now, left, play.now - now) for now, left in play.told], play


def blind(chance, words, speed=0.8, spread=0.3):
    """A scanned page. speed: seconds of OCR for a unit of work."""
    look = Look(BLIND, words * chance.lognormvariate(0, spread), 0.9)
    return look, speed * look.reading * chance.lognormvariate(0, spread)


def plain(chance, words=300, spread=0.3):
    """A page with words of its own."""
    return Look(WORDS, words * chance.lognormvariate(0, spread)), 0.01


def one_file(chance, kind, speed=0.8, spread=0.3):
    """One file of a kind: scan, paper, manual, mixed, office, photo, text."""

    def about(value, more=spread):
        return value * chance.lognormvariate(0, more)

    words, much = about(300), about(1, 0.8)
    match kind:
        case "scan":
            amount = about(150, 2 * spread)
            pages = [blind(chance, amount, speed, spread) for _ in range(1 + int(3 * much))]
            return Doc(pages, size=int(len(pages) * about(100_000)))
        case "paper" | "manual":
            pages = [plain(chance, words) for _ in range(1 + int((8 if kind == "paper" else 200) * much))]
            return Doc(pages, size=20_000 + int(len(pages) * about(20_000)))
        case "mixed":
            pages = [
                blind(chance, 150, speed, spread) if chance.random() < 0.3 else plain(chance, words)
                for _ in range(1 + int(12 * much))
            ]
            return Doc(pages, size=20_000 + int(len(pages) * about(40_000)))
        case "office":
            pages = [plain(chance, words) for _ in range(1 + int(4 * much))]
            size = 20_000 + int(len(pages) * about(20_000))
            return Doc(pages, "office", size, opening=about(2.5, 0.2), converts=True)
        case "photo":
            return Doc([blind(chance, about(60, 2 * spread), speed, spread)], "picture", int(about(200_000, 0.8)))
        case "text":
            pages = [(Look(WORDS, 600), 0.001)] * (1 + int(3 * much))
            return Doc(pages, "text", 4000 * len(pages))
    raise AssertionError(kind)


KINDS = ("scan", "paper", "manual", "mixed", "office", "photo", "text")
