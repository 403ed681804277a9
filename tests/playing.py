"""A run that reads files, played in no time: threads are generators, and the clock goes from one event to the next."""

import heapq
import itertools
import random
from dataclasses import dataclass, field

from visret._forecast import BLIND, File, Forecast

BATCH_PAGES, BATCH_SECONDS = 32, 10.0


@dataclass
class Doc:
    """A file as it really is. pages: of each the Look, and the seconds that it takes to be read."""

    pages: list
    kind: str = "pdf"
    size: int = 50_000
    opening: float = 0.005
    converts: bool = False
    encoding: float = 0.00015  # seconds a word


@dataclass
class Play:
    """What is told of it: (seconds since the start, seconds that are left by the forecast), and how long it took."""

    docs: list
    lanes: int = 1
    engine: str = "rapidocr"
    loading: float = 1.0
    ocr: str = "auto"
    scout: bool = True
    room: int = 600  # pages
    warming: float = 0.5
    every: float | None = None
    encoding_guess: float = 0.05
    now: float = 0.0
    tries: int = 0
    seen: set = field(default_factory=set)
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    told: list = field(default_factory=list)

    def run(self):
        files = [File(str(i), doc.kind, doc.size, converts=doc.converts) for i, doc in enumerate(self.docs)]
        self.forecast = Forecast(
            files, lanes=self.lanes, ocr=self.ocr, engine=self.engine, encoding=self.encoding_guess,
            room=self.room * 1000, clock=lambda: self.now,
        )  # fmt: skip
        self.buffers = [[] for _ in range(self.lanes)]
        self.over = False
        self.count = itertools.count()
        self.due, self.blocked = [], []
        main = self.main()
        for process in (
            [main, *map(self.lane, range(self.lanes))]
            + [self.scouting()] * self.scout
            + [self.watch()] * bool(self.every)
        ):
            self.advance(process)
        while not self.over:
            self.now, _, process = heapq.heappop(self.due)
            self.advance(process)
            for waiting in self.blocked[:]:
                if waiting[0]():
                    self.blocked.remove(waiting)
                    self.advance(waiting[1])
        return self

    def advance(self, process):
        """Until it sleeps, or waits for something that is not so."""
        for wish in process:
            if callable(wish):
                if not wish():
                    self.blocked.append((wish, process))
                    return
            else:
                heapq.heappush(self.due, (self.now + wish, next(self.count), process))
                return

    def lane(self, number):
        buffer = self.buffers[number]
        loaded = False
        for i in range(number, len(self.docs), self.lanes):
            doc, key = self.docs[i], str(i)
            self.forecast.begins(number, key)
            yield doc.opening
            self.forecast.came(number, None)
            self.forecast.opened(key, len(doc.pages))
            for at, (look, seconds) in enumerate(doc.pages):
                self.forecast.begins(number, key)
                yield seconds + (self.loading if look.page_class == BLIND and not loaded else 0)
                loaded |= look.page_class == BLIND
                self.forecast.came(number, look, number=at + 1, size=1000)
                yield lambda: len(buffer) < self.room / self.lanes
                buffer.append((look, doc.encoding * look.encoding))
            self.forecast.ended(number, key)
            buffer.append(None)

    def main(self):
        batch, since = [], self.now
        for i in range(len(self.docs)):
            buffer = self.buffers[i % self.lanes]
            while True:
                yield lambda waiting=buffer: waiting
                item = buffer.pop(0)
                if item is None:
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

    def scouting(self):
        yield 1.0
        spent = 0.0
        for i in sorted(range(len(self.docs)), key=lambda i: -self.docs[i].size):
            doc = self.docs[i]
            while spent > min(0.025 * (self.now + self.forecast.left()), 1 + 0.2 * self.now):
                yield 0.5
            if doc.kind not in ("pdf", "picture") or not self.forecast.is_unknown(str(i)):
                continue
            pages = len(doc.pages)
            count = min(12, int((pages - 1) ** 0.5) + 1)
            numbers = [(2 * k + 1) * pages // (2 * count) + 1 for k in range(count)]
            cost = 0.003 + 0.005 * count + 0.06 * min(3, sum(doc.pages[k - 1][0].page_class == BLIND for k in numbers))
            spent += cost
            yield 2 * cost
            self.seen.add(i)
            self.forecast.looked(str(i), pages, {number: self.look(doc.pages[number - 1][0]) for number in numbers})
            yield from self.trying()
        while not self.forecast.knows_ocr and self.tries < 3:
            yield from self.trying()
            yield 1.0

    def trying(self):
        blind = [page for i in sorted(self.seen) for page in self.docs[i].pages if page[0].page_class == BLIND]
        fits = self.forecast.ahead_of_ocr() > max(30, self.forecast.left() / 4)
        if not self.forecast.knows_ocr and self.tries < min(3, len(blind)) and fits:
            look, seconds = self.chance.choice(blind)
            yield 2 * seconds
            self.forecast.tried(self.look(look), seconds * 1.8, loaded=True)
            self.tries += 1

    def look(self, true):
        """What can be seen of a page before it is read."""
        return true._replace(words=true.words * (self.chance.lognormvariate(0, 0.3) if true.page_class == BLIND else 1))

    def watch(self):
        while True:
            yield self.every
            self.told.append((self.now, self.forecast.left()))


def played(docs, points=100, **settings):
    """(share of the run, figure, truth) at so many points."""
    total = Play(docs, scout=False, **settings).run().now
    play = Play(docs, every=total / points, **settings).run()
    return [(now / play.now, left, play.now - now) for now, left in play.told], play
