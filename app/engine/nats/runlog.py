"""A run's log at the broker, and the lease that decides who may write to it.

Every event names the lease under which it is written. The broker refuses it once there is a newer one, so a worker that
was taken for dead, or the web after a worker has begun, cannot write any more.
"""

import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, Field

from app.engine import EngineUnavailableError
from app.engine.nats import subjects
from app.engine.nats.broker import Broker, FencedError, by_subject, sequence_of, subject_of
from app.protocol.events import Event, Output, Verdict, from_json, to_json

_log = logging.getLogger(__name__)
_LAST = "Nats-Expected-Last-Subject-Sequence"
_OF = "Nats-Expected-Last-Subject-Sequence-Subject"
_BUILT = "Playground-Built"
_LARGEST = 512 * 1024
"""Characters of events that one message has at most, unless one event has more; at most 2 MiB as UTF-8."""
_TEXT = _LARGEST // 8
"""Characters of output that fit into a message even if JSON escapes each of them, which takes six bytes."""
_TRIES, _PAUSE = 100, 0.05
_STORED = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64")
HANDED_BACK = "handed-back"
"""The holder of a lease that a worker has given up before its own end."""


class StoredFile(BaseModel):
    """A file that a run left at the broker: its name, its size in bytes, and its only piece if that is small."""

    model_config = _STORED

    name: str
    size: int = Field(ge=0)
    piece: bytes | None = None


class BrokerArtifact(BaseModel):
    """The artifact that a run left at the broker: the program first, then the files that belong to it."""

    model_config = _STORED

    files: tuple[StoredFile, ...] = Field(min_length=1)


class Lease(BaseModel):
    """The right to write to a run's log. ``nonce`` tells a holder its own lease.

    ``attempt`` counts from 1. A lease that was handed back has one less, so a first one then has 0.
    """

    model_config = ConfigDict(frozen=True)

    holder: str
    attempt: int
    nonce: str


@dataclass(frozen=True)
class Batch:
    """Events that were written at once. ``built`` is set in the last one of a run with an artifact."""

    events: tuple[Event, ...]
    built: BrokerArtifact | None


def lease_of(msg: Msg) -> Lease:
    """Return the lease in a message. One that cannot be read belongs to nobody."""
    try:
        return Lease.model_validate_json(msg.data)
    except ValueError:
        return Lease(holder="nobody", attempt=1, nonce="")


def batch_of(msg: Msg) -> Batch:
    """Return the events in a message. Raises ``ValueError`` if they cannot be read."""
    told = (msg.headers or {}).get(_BUILT)
    events = tuple(from_json(line) for line in msg.data.splitlines())
    built = None
    with suppress(ValueError):  # without its artifact, the run still has a verdict
        built = BrokerArtifact.model_validate_json(told) if told else None
    return Batch(events, built)


def in_order(messages: Iterable[Msg]) -> tuple[list[Event], BrokerArtifact | None]:
    """Return the events of messages in the order of their ids, each once, and the artifact."""
    events: list[Event] = []
    built: BrokerArtifact | None = None
    for msg in messages:
        try:
            batch = batch_of(msg)
        except ValueError:
            # A worker that writes nonsense must not keep the web from its other runs.
            _log.warning("a message of %s cannot be read", subject_of(msg))
            continue
        events += [event for event in batch.events if event.id > (events[-1].id if events else 0)]
        built = batch.built or built
    return events, built


def fitting(event: Event) -> Iterator[Event]:
    """Yield the event, or its output in parts that each fit into a message."""
    if not isinstance(event, Output) or len(event.text) <= _TEXT:
        yield event
        return
    for at in range(0, len(event.text), _TEXT):
        yield event.model_copy(update={"text": event.text[at : at + _TEXT]})


def pieces(events: Sequence[Event]) -> Iterator[tuple[Event, ...]]:
    """Yield the events in groups that fit into a message."""
    group: list[Event] = []
    size = 0
    for event in events:
        length = len(to_json(event))
        if group and size + length > _LARGEST:
            yield tuple(group)
            group, size = [], 0
        group.append(event)
        size += length
    if group:
        yield tuple(group)


class RunLog:
    """Writes a run's log under a lease. ``sequence`` is 0 for the web before any lease was taken."""

    def __init__(self, broker: Broker, run_id: str, lease: Lease | None = None, sequence: int = 0) -> None:
        self._broker = broker
        self.run_id = run_id
        self.lease = lease
        self.sequence = sequence

    async def append(
        self, events: Sequence[Event], built: BrokerArtifact | None = None, *, seconds: float = 5.0
    ) -> None:
        """Store events. ``built`` belongs to the verdict. Raises ``FencedError``, ``EngineUnavailableError``."""
        subject = subjects.of_run(self.run_id, "ev")
        fence = {_LAST: str(self.sequence), _OF: subjects.of_run(self.run_id, "lease")}
        for group in pieces(events):
            last = {_BUILT: built.model_dump_json()} if built and isinstance(group[-1], Verdict) else {}
            data = "\n".join(map(to_json, group)).encode()
            await self._broker.publish(subject, data, fence | last, seconds=seconds)

    async def hand_back(self, *, seconds: float) -> None:
        """Give the lease up, so that the next attempt counts as this one. Raises as ``append`` does."""
        assert self.lease
        given = Lease(holder=HANDED_BACK, attempt=self.lease.attempt - 1, nonce=secrets.token_hex(8))
        fence = {_LAST: str(self.sequence)}
        subject = subjects.of_run(self.run_id, "lease")
        await self._broker.publish(subject, given.model_dump_json().encode(), fence, seconds=seconds)


@dataclass(frozen=True)
class Known:
    """The messages of a run at the broker besides its events."""

    job: Msg | None
    lease: Lease | None
    sequence: int
    cancelled: bool
    progress_stored: bool


async def known(broker: Broker, run_id: str) -> Known:
    """Return what the broker has of a run. Raises ``EngineUnavailableError``."""
    found = await broker.last(subjects.RUNS, f"run.{run_id}.spec.*", *_kinds(run_id))
    lease = by_subject(found, "lease")
    return Known(
        job=by_subject(found, "spec"),
        lease=lease_of(lease) if lease else None,
        sequence=sequence_of(lease) if lease else 0,
        cancelled=by_subject(found, "cancel") is not None,
        progress_stored=by_subject(found, "stored") is not None,
    )


async def events_of(broker: Broker, run_id: str, lease_sequence: int = 0) -> tuple[list[Event], BrokerArtifact | None]:
    """Return a run's events so far. Raises ``EngineUnavailableError``.

    With the sequence of a lease, every event before that lease is among them: of several brokers, the one that answers
    may not have heard of the last messages yet.
    """
    found = await broker.read(subjects.RUNS, subjects.of_run(run_id, "*" if lease_sequence else "ev"))
    for _ in range(_TRIES):
        if not lease_sequence or any(sequence_of(msg) >= lease_sequence for msg in found):
            return in_order(msg for msg in found if subject_of(msg).endswith(".ev"))
        await anyio.sleep(_PAUSE)
        found = await broker.read(subjects.RUNS, subjects.of_run(run_id, "*"))
    raise EngineUnavailableError(f"the broker does not know the lease of run {run_id} yet")


async def so_far(broker: Broker, run_id: str) -> tuple[list[Event], bool]:
    """Return a run's events so far, and if it is to be cancelled. Raises ``EngineUnavailableError``."""
    found = await broker.read(subjects.RUNS, subjects.of_run(run_id, "*"))
    events, _ = in_order(msg for msg in found if subject_of(msg).endswith(".ev"))
    return events, by_subject(found, "cancel") is not None


async def first_lease(broker: Broker, run_id: str, holder: str) -> RunLog | None:
    """Take the lease of a run that nobody has begun. Return None if another worker has it."""
    return await _take(broker, run_id, holder, 1, 0)


async def next_lease(broker: Broker, run_id: str, holder: str, before: Known) -> RunLog | None:
    """Take the lease from its last holder. Return None if another worker has it."""
    attempt = before.lease.attempt + 1 if before.lease else 1
    return await _take(broker, run_id, holder, attempt, before.sequence)


async def _take(broker: Broker, run_id: str, holder: str, attempt: int, expected: int) -> RunLog | None:
    lease = Lease(holder=holder, attempt=attempt, nonce=secrets.token_hex(8))
    subject = subjects.of_run(run_id, "lease")
    try:
        at = await broker.publish(subject, lease.model_dump_json().encode(), {_LAST: str(expected)})
    except FencedError:
        # The answer to an earlier try may have been lost together with the connection.
        now = await known(broker, run_id)
        if now.lease != lease:
            return None
        at = now.sequence
    return RunLog(broker, run_id, lease, at)


def _kinds(run_id: str) -> list[str]:
    return [subjects.of_run(run_id, kind) for kind in ("lease", "cancel", "stored")]
