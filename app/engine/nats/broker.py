"""A connection to the broker: publishing with an answer, reading many messages at once, and its configuration."""

import asyncio
import json
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import anyio
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, NoStreamResponseError

from app.engine import EngineUnavailableError
from app.engine.nats import subjects, words

_log = logging.getLogger(__name__)
_OLDEST = (2, 11)
_ANSWER_SECONDS = 2.0
_LEADER_SECONDS = 8.0
_NOT_FOUND, _NO_LEADER = 404, 503
_BATCH = 500
_MOST_PENDING = 64 * 1024 * 1024
_FENCED = (10071, 10164)
"""The codes of ``wrong last sequence``: another writer came first."""
_NOT_STORED = 10077
_REFUSED_SECONDS = 10.0

Gone = (nats.errors.Error, NoStreamResponseError, TimeoutError, OSError)
"""Errors that pass when the broker is back."""


class FencedError(Exception):
    """Another writer holds the lease, or has written meanwhile."""


class SubjectFullError(Exception):
    """The subject has as many messages as it may have."""


class UnusableBrokerError(Exception):
    """The broker cannot be used; the message is one sentence."""


class Broker:
    """A connection that reconnects for ever. ``restored`` is called after each reconnection.

    ``keys`` is a folder that ``keys.init`` made for the ``role``.
    """

    def __init__(self, url: str, role: Literal["web", "worker"] = "web", keys: Path | None = None) -> None:
        self.url = url
        self._role = role
        self._keys = keys
        self.restored: list[Callable[[], None]] = []
        self.lost_at = self.restored_at = -math.inf
        """The times of the last disconnection and reconnection."""
        self._seconds_away = 0.0
        self.reconnections = 0
        self._refused = "", -math.inf
        self._closing = False
        self._complaint = ""
        """The last error of the connection, which says more than that there was no time left."""
        self.client = Client()

    async def connect(self, seconds: float, largest: int = subjects.MESSAGE) -> Self:
        """Connect within ``seconds`` to a broker that takes messages of ``largest`` bytes.

        Raises ``UnusableBrokerError``.
        """
        secured = self._secured(self._keys) if self._keys else None
        try:
            with anyio.fail_after(seconds):
                await self.client.connect(
                    self.url,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.1,  # type: ignore[arg-type]  # it only sleeps for as long
                    connect_timeout=2,
                    ping_interval=2,
                    max_outstanding_pings=2,
                    pending_size=_MOST_PENDING,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._reconnected,
                    error_cb=self._note,
                    name=f"playground {self._role}",
                    inbox_prefix=f"_INBOX.{self._role}".encode(),
                    tls=secured,
                )
        except (*Gone, ValueError) as error:
            with anyio.CancelScope(shield=True), anyio.move_on_after(1):
                await self.client.close()
            raise UnusableBrokerError(words.unreachable(self.url, self._complaint or str(error))) from error
        version = self.client.connected_server_version
        if (version.major, version.minor) < _OLDEST:
            await self.close()
            raise UnusableBrokerError(words.too_old(f"{version.major}.{version.minor}.{version.patch}"))
        if self.client.max_payload < largest:
            # A message that is too large would be tried again for ever, and its run would never end.
            await self.close()
            raise UnusableBrokerError(words.small_messages(self.client.max_payload, largest))
        self._stream = self.client.jetstream()
        return self

    async def close(self) -> None:
        """Close the connection."""
        self._closing = True
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            await self.client.close()

    def _secured(self, keys: Path) -> ssl.SSLContext:
        """Return what proves who this process is and who the broker is."""
        try:
            trusted = ssl.create_default_context(cafile=keys / "ca.pem")
            trusted.load_cert_chain(keys / f"{self._role}.pem", keys / f"{self._role}.key")
        except OSError as error:
            raise UnusableBrokerError(words.no_keys(str(keys), self._role, str(error))) from error
        return trusted

    @property
    def connected(self) -> bool:
        """Return True while the broker can be reached."""
        return self.client.is_connected

    def connected_time(self) -> float:
        """Return a monotonic time that stands still while the broker is away."""
        now = time.monotonic()
        return now - self._seconds_away - (now - self.lost_at if self.lost_at > self.restored_at else 0.0)

    @property
    def refusal(self) -> str:
        """Why the broker has refused to store a message in the last seconds, or nothing."""
        why, at = self._refused
        return why if time.monotonic() - at < _REFUSED_SECONDS else ""

    async def subscribe(self, subject: str, called: Callable[[Msg], Awaitable[None]]) -> None:
        """Call a function with each message of a subject, in order."""
        await self.client.subscribe(subject, cb=called, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def publish(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, seconds: float = 5.0
    ) -> int:
        """Store a message and return its sequence. Tries again for ``seconds`` while the broker is away.

        Raises ``FencedError``, ``SubjectFullError``, ``EngineUnavailableError``. After the last one, the message may
        have been stored.
        """
        until = time.monotonic() + seconds
        while True:
            try:
                return (await self._stream.publish(subject, data, timeout=_ANSWER_SECONDS, headers=headers)).seq
            except APIError as error:
                if error.err_code in _FENCED:
                    raise FencedError(subject) from error
                # Every failure to store has this code; the text says which.
                if error.err_code == _NOT_STORED and "per subject" in (error.description or ""):
                    raise SubjectFullError(subject) from error
                failed: Exception = error
                self._refused = error.description or str(error), time.monotonic()
            except Gone as error:
                failed = error
            if time.monotonic() > until:
                raise EngineUnavailableError(f"{subject} could not be stored: {failed}") from failed
            await anyio.sleep(0.1)

    async def tell(self, subject: str, data: bytes = b"") -> None:
        """Send a message without waiting for an answer. Raises ``EngineUnavailableError``."""
        try:
            await self.client.publish(subject, data)
        except Gone as error:
            raise EngineUnavailableError(f"{subject} could not be sent: {error}") from error

    async def read(self, stream: str, subject: str, after: int = 0) -> list[Msg]:
        """Return the messages of a subject with a sequence above ``after``, in order."""
        found: list[Msg] = []
        while True:
            wish = {"seq": after + 1, "next_by_subj": subject, "batch": _BATCH}
            more, left = await self._get(stream, wish)
            found += more
            if not more or not left:
                return found
            after = sequence_of(more[-1])

    async def last(self, stream: str, *wanted: str) -> list[Msg]:
        """Return the last message of each subject that matches, at most 1024 in order of their sequence."""
        return (await self._get(stream, {"multi_last": list(wanted)}))[0]

    async def purge(self, stream: str, subject: str) -> None:
        """Delete every message of a subject."""
        await self.ask(f"STREAM.PURGE.{stream}", {"filter": subject})

    async def ask(self, what: str, wish: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask JetStream's own interface. Raises ``APIError``, ``EngineUnavailableError``.

        Tries again for a while when brokers have no leader, as after the death of one of three.
        """
        data = json.dumps(wish).encode() if wish is not None else b""
        until = time.monotonic() + _LEADER_SECONDS
        while True:
            try:
                answer = await self.client.request(f"$JS.API.{what}", data, timeout=_ANSWER_SECONDS)
            except nats.errors.TimeoutError as error:
                if time.monotonic() > until:
                    raise EngineUnavailableError(f"{what}: {error}") from error
                continue
            except Gone as error:
                raise EngineUnavailableError(f"{what}: {error}") from error
            found: dict[str, Any] = json.loads(answer.data)
            if "error" not in found:
                return found
            refused = APIError(**{key: found["error"].get(key) for key in ("code", "err_code", "description")})
            if refused.code != _NO_LEADER or time.monotonic() > until:
                raise refused
            await anyio.sleep(0.1)

    async def names(self, pattern: str) -> list[str]:
        """Return the subjects of ``RUNS`` that match."""
        found: list[str] = []
        while True:
            wish = {"subjects_filter": pattern, "offset": len(found)}
            state = (await self.ask(f"STREAM.INFO.{subjects.RUNS}", wish)).get("state", {})
            more = list(state.get("subjects") or {})
            found += more
            if len(found) >= state.get("num_subjects", 0) or not more:
                return found

    async def has(self, name: str) -> bool:
        """Return True if the stream exists. Raises ``UnusableBrokerError`` if the broker has no streams at all."""
        try:
            await self.ask(f"STREAM.INFO.{name}")
        except (APIError, EngineUnavailableError) as error:
            if isinstance(error, APIError) and error.code == _NOT_FOUND:
                return False
            raise UnusableBrokerError(words.no_streams(name, str(error))) from error
        return True

    async def ensure(self, ttl: float, replicas: int = 1) -> None:
        """Create the streams, or give them this configuration. Raises ``UnusableBrokerError``."""
        for name, wanted in subjects.configurations(ttl, replicas).items():
            given = {"name": name, "storage": "file", "discard": "old", **wanted}
            try:
                await self.ask(f"STREAM.{'UPDATE' if await self.has(name) else 'CREATE'}.{name}", given)
            except (APIError, EngineUnavailableError) as error:
                raise UnusableBrokerError(words.no_streams(name, str(error))) from error

    async def _get(self, stream: str, wish: Mapping[str, object]) -> tuple[list[Msg], int]:
        """Return what one direct get answers, and the number of messages that are left."""
        inbox = self.client.new_inbox()
        found: list[Msg] = []
        try:
            answers = await self.client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
            try:
                await self.client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(wish).encode(), inbox)
                while True:
                    msg = await answers.next_msg(timeout=_ANSWER_SECONDS)
                    headers = msg.headers or {}
                    status = headers.get("Status")
                    if status is None:
                        found.append(msg)
                    elif status == "204":
                        return found, int(headers.get("Nats-Num-Pending", 0))
                    elif status == "404":
                        return [], 0
                    else:
                        raise EngineUnavailableError(f"{stream} answers {status} {headers.get('Description')}")
            finally:
                await answers.unsubscribe()
        except Gone as error:
            raise EngineUnavailableError(f"{stream} could not be read: {error}") from error

    async def _lost(self) -> None:
        if self._closing:
            return
        _log.warning("the broker cannot be reached")
        self.lost_at = time.monotonic()

    async def _note(self, error: Exception) -> None:
        told, self._complaint = self._complaint, str(error) or type(error).__name__
        # Each try to connect again fails, ten times a second.
        is_usual = isinstance(error, (OSError, asyncio.TimeoutError, nats.errors.StaleConnectionError))
        if not is_usual and told != self._complaint:
            _log.warning("the broker: %s", self._complaint)

    async def _reconnected(self) -> None:
        _log.warning("the broker is back")
        self._complaint = ""
        now = time.monotonic()
        if self.lost_at > self.restored_at:
            self._seconds_away += now - self.lost_at
        self.restored_at = now
        self.reconnections += 1
        for call in self.restored:
            call()


def sequence_of(msg: Msg) -> int:
    """Return the sequence of a message that was read or repeated from a stream."""
    return int((msg.headers or {})["Nats-Sequence"])


def subject_of(msg: Msg) -> str:
    """Return the subject under which a message that was read is stored."""
    return (msg.headers or {}).get("Nats-Subject") or msg.subject


def by_subject(messages: Sequence[Msg], end: str) -> Msg | None:
    """Return the message whose subject ends like this."""
    return next((msg for msg in messages if subject_of(msg).split(".")[2] == end), None)
