"""The executor that reads and encodes on the machines of a Ray cluster (extra `ray`).

Readers and encoders are actors. This process cuts files into portions, gives each portion to a reader and what the
reader made of it to an encoder, and records what comes back: so it alone writes to the index, and nothing that happens
elsewhere can damage it. A portion whose actor, machine or data is lost is read again, and another actor takes the place
of the lost one as soon as the cluster has room for it.
"""

from __future__ import annotations

import logging
import math
import re
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import visret
from visret import arguments
from visret.encoders import _languages
from visret.errors import InvalidArgument, MissingExtra, VisretError
from visret.ingest.added import record
from visret.ingest.apart import Model, PartEmbedder, PartEncoder, PartReader, ReadParts, Said, unseen
from visret.ingest.execution import Encoded, Job
from visret.ingest.forecast import Pace
from visret.ingest.messages import Unread
from visret.ingest.parts import Cut, Portion
from visret.ingest.tasks import file_ahead
from visret.types import Embedder, Executor, Page

_log = logging.getLogger("visret")

ANSWER_SECONDS = 30.0  # in which a cluster has to answer
WAKE_SECONDS = 0.5  # between two looks at the clock
ROOM_SECONDS = 60.0, 600.0  # without any reader or encoder: until that is said, and until the run ends
CLOSING_SECONDS = 5.0  # that readers have at the end of a run
EMBEDDED_AT_ONCE = 8  # pages that an encoder gets of an added model
MAX_LOST = 3  # encoders that end with the same pages, in a row
MAX_STARTS = 5  # of actors of one kind that end before they are ready, in a row
READER_CPUS = 0.1  # a reader shares the cores of the encoders, with a lower priority, as it does on one machine
_STARTING = "start one with `ray start --head`, and join it from here with `ray start --address=HOST:PORT`"
AT_ONCE = {"reader": 1, "encoder": 2}  # portions that an actor has: an encoder gets the next one while it is at one


class OnRay(Executor[Job, Encoded]):
    """The executor that reads and encodes on a Ray cluster: `Retriever.add(..., executor=OnRay("10.0.0.1:6379"))`.

    address: HOST:PORT of the head node; "auto" for the cluster that this machine is part of. If Ray is connected in
        this process, its cluster is used. Run this on a machine of the cluster: it holds the index.
    encoders: how many processes encode; None for one for each GPU or, if no node has a GPU, for each core. Those for
        which there is no room start when nodes join.
    readers: how many processes read files; None for one for each two cores, or for each core if GPUs encode.
    gpus: how many GPUs an encoder takes; None is one if any node has one, else none. threads: how many threads it has
        on CPUs. Ray counts one core for it and its share of a reader, whatever its threads.

    Every node needs the same version of visret, and sees the files under the same paths, as on a shared disk; a model
    in a folder too. A node fetches objects itself, with the keys in its own environment. The index is written by this
    process alone, and needs no shared disk.

    Raises MissingExtra without Ray, InvalidArgument for an address or a number that makes no sense.
    """

    def __init__(
        self,
        address: str = "auto",
        *,
        encoders: int | None = None,
        readers: int | None = None,
        gpus: float | None = None,
        threads: int = 1,
    ) -> None:
        host, _, port = address.rpartition(":")
        if address != "auto" and (not host or "/" in host or not port.isdecimal()):
            raise InvalidArgument(
                f"a Ray cluster is HOST:PORT of its head node, as in 10.0.0.1:6379, or auto, got {address!r}"
            )
        if gpus is not None and not (isinstance(gpus, int | float) and 0 <= gpus < math.inf):
            raise InvalidArgument(f"gpus: expected 0 or more for each encoder, got {gpus!r}")
        _ray()
        self.address = address
        self.encoders = None if encoders is None else arguments.whole("encoders", encoders)
        self.readers = None if readers is None else arguments.whole("readers", readers)
        self.gpus = gpus
        self.threads = arguments.whole("threads", threads)

    def carry_out(self, job: Job) -> Iterator[Encoded]:
        """Yield what comes of files, in the order in which it comes; while the index has to learn, in that of files.

        Raises VisretError if no cluster answers, if a node has another visret or does not see a file, and if all nodes
        are lost for long.
        """
        if job.made:
            raise InvalidArgument("pages that were made in memory are encoded where they are, without an executor")
        if not job.tasks:
            return
        ray = _ray()
        with _connected(ray, self.address):
            cores, gpus, count = self._room(ray)
            model = ray.put(_checked(Model.of(job.encoder, job.packing().index)))
            encoders = _Pool(ray, "encoder", PartEncoder, _takes(gpus), count, (model, self.threads))
            count = self.readers or (cores if gpus else math.ceil(cores / 2))
            run = _Run(ray, job, _Pool(ray, "reader", PartReader, {"num_cpus": READER_CPUS}, count, ()), encoders)
            try:
                yield from run.results()
            finally:
                run.stop()

    @contextmanager
    def embedding(self, embedder: Embedder) -> Iterator[Embedder]:
        """Yield an added model as the encoders of the cluster compute it.

        One that visret cannot load by its name is computed here. Raises what `carry_out` raises.
        """
        is_ours = type(embedder).__module__.startswith("visret.embedders.")
        if not is_ours or not embedder.spec.source:
            yield embedder
            return
        ray = _ray()
        with _connected(ray, self.address):
            _, gpus, count = self._room(ray)
            pool = _Pool(ray, "encoder", PartEmbedder, _takes(gpus), count, (embedder.spec, record(embedder)))
            try:
                yield _Embedding(ray, embedder, pool)
            finally:
                pool.stop()

    def _room(self, ray: Any) -> tuple[int, float, int]:
        """Return the cores of the cluster, how many GPUs an encoder takes, and how many encoders there are to be."""
        there = ray.cluster_resources()
        cores, all_gpus = int(there.get("CPU", 0)), there.get("GPU", 0)
        gpus = float(all_gpus >= 1) if self.gpus is None else self.gpus
        if not cores or all_gpus < gpus:
            wanted = f"core and the {gpus:g} GPUs" if gpus else "core"
            raise VisretError(f"the Ray cluster lacks the {wanted} that an encoder takes; start such a node")
        return cores, gpus, self.encoders or (int(all_gpus / gpus) if gpus else cores)


def _takes(gpus: float) -> dict[str, float]:
    """Return what an encoder takes of a node, as Ray counts it."""
    return {"num_cpus": 1 - READER_CPUS, "num_gpus": gpus}


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("indexing on other machines needs Ray: pip install 'visret[ray]'") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster for as long as the block lasts, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        raise VisretError(f"cannot join the Ray cluster at {address}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _checked(model: Model) -> Model:
    """Return a model that can be sent. Raises InvalidArgument for an encoder that cannot."""
    from ray import cloudpickle

    try:
        cloudpickle.dumps(model)
    except Exception as error:
        said = f"{model.spec.name} is an encoder of your own that cannot be sent to other processes: {error}"
        raise InvalidArgument(said) from error
    return model


def _check_answers(address: str) -> None:
    """Raise VisretError unless a cluster answers; `ray.init` would wait for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
        except OSError as error:
            raise VisretError(f"no Ray cluster answers at {address} ({error}); {_STARTING}") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    named = [] if address == "auto" else ["--address", address]
    try:
        done = subprocess.run(
            [*command, *named], timeout=ANSWER_SECONDS, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        answers = done.returncode == 0
    except subprocess.TimeoutExpired:
        answers = False
    if not answers:
        where = "on this machine" if address == "auto" else f"at {address}"
        raise VisretError(f"no Ray cluster answers {where}; {_STARTING}")


def _explained(error: Exception) -> Exception:
    """Return what went wrong in an actor as the error to raise: in the words of visret where it has words for it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, VisretError):
        return cause
    if found := re.search("No module named '([^']+)'", str(error)):
        needed = f"visret {visret.__version__}" if found[1] == "visret" else "it"
        return VisretError(
            f"a node of the Ray cluster has no {found[1]}: install {needed} on all of them, where Ray runs"
        )
    return error


def _first(error: Exception) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0].rstrip(".")


@dataclass(eq=False, slots=True)
class _Actor:
    """An actor. busy: how many portions it has."""

    handle: Any
    busy: int = 0


class _Pool:
    """Actors of one kind, as many as are wanted. Each that is lost is followed by another.

    kind: what messages call one. given: to their method `ready`, after the version of visret.
    """

    def __init__(
        self, ray: Any, kind: str, what: type[Any], options: dict[str, Any], count: int, given: tuple[Any, ...]
    ) -> None:
        self.ray = ray
        self.kind = kind
        self.made = ray.remote(what).options(max_restarts=0, scheduling_strategy="SPREAD", **options)
        self.given = given
        self.starting: dict[Any, _Actor] = {}  # by the answer of `ready`
        self.ready: list[_Actor] = []
        self.failed_starts = 0
        self.idle_since = time.monotonic()  # since when none has been ready
        self.has_warned = False
        for _ in range(count):
            self.start()

    def start(self) -> None:
        """Start another one, as soon as there is room."""
        actor = _Actor(self.made.remote())
        self.starting[actor.handle.ready.remote(visret.__version__, *self.given)] = actor

    def started(self, answer: Any) -> None:
        """Take one in that may be ready. Raises VisretError if it cannot be."""
        actor = self.starting.pop(answer)
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            raise _explained(error) from None
        except self.ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise _explained(error) from None
            self.failed_starts += 1
            if self.failed_starts == MAX_STARTS:
                said = f"{MAX_STARTS} {self.kind}s in a row ended while they started: {_first(error)}"
                raise VisretError(said) from error
            self.drop(actor)
            return
        self.failed_starts = 0
        self.ready.append(actor)

    def drop(self, actor: _Actor) -> None:
        """Give one up, and start another in its place."""
        if actor in self.ready:
            self.ready.remove(actor)
            if not self.ready:
                self.idle_since = time.monotonic()
        self.ray.kill(actor.handle)
        self.start()

    def free(self) -> _Actor | None:
        """Return the one with the least to do, if it may have more."""
        actor = min(self.ready, key=lambda one: one.busy, default=None)
        return actor if actor is not None and actor.busy < AT_ONCE[self.kind] else None

    def check_room(self) -> None:
        """Say so if none has been ready for long. Raises VisretError after very long."""
        seconds = 0.0 if self.ready else time.monotonic() - self.idle_since
        if seconds > ROOM_SECONDS[1]:
            raise VisretError(
                f"the Ray cluster has had no room for {self.kind}s for {seconds / 60:.0f} minutes; start nodes, and "
                "run this again: it goes on where it stopped"
            )
        if seconds > ROOM_SECONDS[0] and not self.has_warned:
            self.has_warned = True
            _log.warning(
                "the Ray cluster has no room for %ss; this waits for nodes, or for other jobs to end", self.kind
            )

    def stop(self) -> None:
        """End all of them, readers after they have deleted what they fetched."""
        if self.kind == "reader" and self.ready:
            left = [actor.handle.close.remote() for actor in self.ready]
            self.ray.wait(left, num_returns=len(left), timeout=CLOSING_SECONDS)
        for actor in [*self.ready, *self.starting.values()]:
            self.ray.kill(actor.handle)


class _Embedding:
    """An added model that actors compute for pages, some at a time. Pages of an actor that is lost are given again."""

    def __init__(self, ray: Any, embedder: Embedder, pool: _Pool) -> None:
        self.spec = embedder.spec
        self.preprocessing = embedder.preprocessing
        self.can_read = embedder.can_read
        self.embed_queries = embedder.embed_queries
        self.ray = ray
        self.pool = pool

    def embed_pages(self, pages: Sequence[Page]) -> list[Any]:
        """Return what the model makes of each page. Raises VisretError for pages that end one actor after another."""
        left = deque(range(0, len(pages), EMBEDDED_AT_ONCE))
        made: dict[int, list[Any]] = {}
        lost: Counter[int] = Counter()
        running: dict[Any, tuple[_Actor, int]] = {}
        try:
            while left or running:
                while left and (actor := self.pool.free()):
                    start = left.popleft()
                    actor.busy += 1
                    some = list(pages[start : start + EMBEDDED_AT_ONCE])
                    running[actor.handle.embed.remote(some)] = actor, start
                done, _ = self.ray.wait([*self.pool.starting, *running], timeout=WAKE_SECONDS)
                for answer in done:
                    if answer in self.pool.starting:
                        self.pool.started(answer)
                        continue
                    actor, start = running.pop(answer)
                    actor.busy -= 1
                    if (found := self._got(answer, actor)) is not None:
                        made[start] = found
                        continue
                    lost[start] += 1
                    if lost[start] == MAX_LOST:
                        raise VisretError(f"{MAX_LOST} encoders in a row ended while they read these pages")
                    left.appendleft(start)
                self.pool.check_room()
        finally:
            for actor, _ in running.values():
                actor.busy -= 1
        return [one for start in sorted(made) for one in made[start]]

    def _got(self, answer: Any, actor: _Actor) -> list[Any] | None:
        """Return what an actor made; None if it, or its machine, was lost. Raises what the model raised."""
        errors = self.ray.exceptions
        try:
            return list(self.ray.get(answer))
        except errors.RayTaskError as error:
            if not isinstance(error.cause, errors.RayError):
                raise _explained(error) from None
        except errors.RayActorError:
            if actor in self.pool.ready:
                self.pool.drop(actor)
        except errors.RayError:
            pass  # its answer was lost
        return None


class _Call(NamedTuple):
    """A portion that an actor is at."""

    actor: _Actor
    portion: Portion
    answers: Any  # of its reader


class _Run:
    """A run on a cluster."""

    def __init__(self, ray: Any, job: Job, readers: _Pool, encoders: _Pool) -> None:
        self.ray = ray
        self.job = job
        self.readers = readers
        self.encoders = encoders
        self.cut = Cut(job.tasks, job.encoder.spec.modality)
        self.reading: dict[Any, _Call] = {}
        self.encoding: dict[Any, _Call] = {}
        self.read: deque[tuple[Portion, Any]] = deque()  # what waits for an encoder
        self.packing: tuple[bool, Any] | None = None  # whether it is fitted; the object
        self.heard: set[tuple[str, int, str]] = set()
        self.pace = Pace([file_ahead(task) for task in job.tasks], ocr=job.options.ocr)

    def results(self) -> Iterator[Encoded]:
        """Yield what comes of all files."""
        self.job.teller.progress.forecast = self.pace
        self.job.teller.now()
        while self.cut.left:
            self.hand_out()
            waited = [*self.readers.starting, *self.encoders.starting, *self.reading, *self.encoding]
            done, _ = self.ray.wait(waited, timeout=WAKE_SECONDS)
            for answer in done:
                yield from self.take(answer)
            yield from self.came()
            self.job.teller.tick()
            self.readers.check_room()
            self.encoders.check_room()

    def stop(self) -> None:
        """End all actors."""
        self.readers.stop()
        self.encoders.stop()

    # ---- giving work

    def hand_out(self) -> None:
        """Give portions to actors that may have more."""
        while self.read and (actor := self.encoders.free()):
            portion, answers = self.read.popleft()
            actor.busy += 1
            call = _Call(actor, portion, answers)
            self.encoding[actor.handle.encode.remote(answers, self.current_packing())] = call
        room = len(self.readers.ready) + AT_ONCE["encoder"] * max(1, len(self.encoders.ready))
        while len(self.reading) + len(self.read) + len(self.cut.held) < room and (actor := self.readers.free()):
            following = self.cut.next_portion()
            if following is None:
                return
            if not self.cut.is_wanted(following):
                continue
            actor.busy += 1
            seen, answers = actor.handle.read.options(num_returns=2).remote(following.parts, self.job.options)
            self.reading[seen] = _Call(actor, following, answers)

    def current_packing(self) -> Any:
        """Return how the index stores pages now, as an object of the cluster."""
        packing = self.job.packing()
        fitted = packing.fitted is not None
        if self.packing is None or self.packing[0] != fitted:
            self.packing = fitted, self.ray.put(packing)
        return self.packing[1]

    # ---- taking what comes

    def take(self, answer: Any) -> Iterator[Encoded]:
        """Take what an actor has answered."""
        for pool in (self.readers, self.encoders):
            if answer in pool.starting:
                pool.started(answer)
                return
        is_read = answer in self.reading
        pool, call = (self.readers, self.reading.pop(answer)) if is_read else (self.encoders, self.encoding.pop(answer))
        call.actor.busy -= 1
        try:
            got = self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            if not isinstance(error.cause, self.ray.exceptions.RayError):
                raise _explained(error) from None
            yield from self.lost(call, error)
        except self.ray.exceptions.RayActorError as error:
            if call.actor in pool.ready:
                pool.drop(call.actor)
            yield from self.lost(call, error)
        except self.ray.exceptions.RayError as error:
            yield from self.lost(call, error)
        else:
            if is_read:
                yield from self.was_read(call, got)
            else:
                self.say(got.said)
                _languages.join_others(got.warned)
                self.cut.was_encoded(call.portion, got.coded)

    def lost(self, call: _Call, error: Exception) -> Iterator[Encoded]:
        """Have a portion read again."""
        if reads := list(self.cut.died(call.portion, _first(error))):
            yield Encoded(reads, {})

    def was_read(self, call: _Call, got: ReadParts) -> Iterator[Encoded]:
        """Pass a portion on to the encoders."""
        self.say(got.said)
        for part, glance in zip(call.portion.parts, got.glances, strict=True):
            if glance.unseen is not None and unseen(part) is None:  # else it has changed, or is gone
                raise VisretError(
                    f"a node of the Ray cluster does not see {part.task.shown} as this machine does "
                    f"({glance.unseen}): every node reads the files under the same paths, as on a shared disk"
                )
            if glance.pages is not None:
                self.pace.opened(part.file, glance.pages + glance.inside)
        if reads := list(self.cut.was_read(call.portion, got.glances)):
            yield Encoded(reads, {})
        self.read.append((call.portion, call.answers))

    def came(self) -> Iterator[Encoded]:
        """Yield what has come; while the index has to learn, nothing before what precedes it in the run."""
        for part, encoded in self.cut.ready(in_order=self.job.packing().fitted is None):
            pages = sum(isinstance(read.answer, Page | Unread) for read in encoded.reads)
            self.pace.encoded(part.file, pages, is_over=self.cut.files[part.file].is_over)
            yield encoded

    def say(self, said: Said) -> None:
        """Log what was logged elsewhere, each message once."""
        for name, level, text in said:
            if (name, level, text) not in self.heard:
                self.heard.add((name, level, text))
                logging.getLogger(name).log(level, "%s", text)
