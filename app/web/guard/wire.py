"""End stalled connections, for which uvicorn would wait without a limit.

Without this module, connections and their memory could be held forever in four ways: by a request whose head never
ends, by the rest of a body that has already been answered, by a client that reads nothing, and by sheer number. A fifth
way is a client that reads little, so the data waiting for all clients together is bounded too.
"""

import asyncio
import socket
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from app.settings import Settings
from app.web.guard.callers import LOOPBACK
from app.web.guard.rates import address_of
from app.web.guard.shares import Shares

_SEND_BUFFER = 64 * 1024
"""The kernel's send buffer for one connection, which could otherwise grow to megabytes for each stalled client."""
_LEAST_TAKEN = 32 * 1024
"""A client that reads fewer bytes than this in ``stalled_seconds`` counts as stalled."""
_MOST_UNSENT = 16 * 1024 * 1024
"""Bytes that may wait for all clients together. Beyond that, the connection with the most waiting bytes is ended."""
KEEP_ALIVE_SECONDS = 150
"""Seconds that a connection may wait for its next request.

Longer than proxies keep idle connections by default (nginx 60 s, Traefik 90 s, Caddy 120 s). If the server closed
first, a proxy could send a learner's request into the closing connection, and answer 502. A connection that waits is
cheap, and the first to give way.
"""
_MOST_CHUNKS = 2048
"""Chunks of one body. Each costs as much as a small request, so one-byte chunks would block the event loop for long."""
_LAST_WORDS = 0.3
"""Seconds left for sending an answer when the server stops."""


class _Connection(h11.Connection):
    """A connection on which countless chunks in one body are a protocol error."""

    chunks = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.chunks = 0
        elif isinstance(event, h11.Data) and event.chunk_start:
            self.chunks += 1
            if self.chunks > _MOST_CHUNKS:
                raise h11.RemoteProtocolError(f"a body comes in at most {_MOST_CHUNKS} chunks")
        return event


class Wire(H11Protocol):
    """A connection; ``wire_of`` returns the class with an operator's limits for uvicorn."""

    request_seconds: float
    stalled_seconds: float
    places: Shares["Wire"]
    unsent: ClassVar[dict["Wire", int]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = _Connection(h11.SERVER)
        self.app_state = {**self.app_state, "hang_up": self.give_way}
        self._unfinished: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # asyncio passes nothing else
        super().connection_made(transport)
        if not self.places.take(self):
            transport.abort()
            return
        # Count every byte that the kernel does not accept at once as waiting, so that each stalled client is noticed.
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._watch()

    @property
    def idle(self) -> bool:
        """True if no request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    @property
    def address(self) -> str:
        """The address of the sender of the request that is being answered, else of the connection itself."""
        caller = None if self.idle else self.scope["state"].get("caller")
        return caller.address if caller else address_of({"client": self.client}) or LOOPBACK

    @property
    def owner(self) -> str:
        """The seat whose request is being answered, or ``?`` while it is unknown."""
        caller = None if self.idle else self.scope["state"].get("caller")
        return caller.owner if caller else "?"

    def give_way(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timers()
        self.places.release(self)
        self.unsent.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        idle = self.idle
        super().data_received(data)
        if idle and not self.idle:
            self.places.changed(self)
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Answer that the request is malformed, or end the connection if its answer has already been sent."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.places.changed(self)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_client()
        self.unsent[self] = self.transport.get_write_buffer_size()
        if sum(self.unsent.values()) > _MOST_UNSENT:
            self._make_room()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.unsent.pop(self, None)
        if self._stalled:
            self._stalled.cancel()

    def shutdown(self) -> None:
        """Give an answer a moment to be sent, but do not wait for half a request or for a slow client."""
        if self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()
            return
        super().shutdown()
        self.loop.call_later(_LAST_WORDS, self.transport.abort)

    def _watch(self) -> None:
        """Limit the time for a head, and for the rest of a body that is read only to be discarded.

        The time for a body that is still needed is limited where it is read, so that its sender gets a message. A
        connection that has had an answer and sent nothing since has ``KEEP_ALIVE_SECONDS``, which uvicorn counts.
        """
        answered = self.conn.our_state in (h11.DONE, h11.MUST_CLOSE)
        state = self.conn.their_state
        cycle: RequestResponseCycle | None = self.cycle
        awaits_head = state is h11.IDLE and (cycle is None or bool(self.conn.trailing_data[0]))
        if awaits_head or (state is h11.SEND_BODY and answered):
            if self._unfinished is None:
                self._unfinished = self.loop.call_later(self.request_seconds, self._end_if_unfinished)
        elif self._unfinished:
            self._unfinished.cancel()
            self._unfinished = None

    def _end_if_unfinished(self) -> None:
        self._unfinished = None
        if self.transport.get_write_buffer_size():
            self._watch()  # the previous answer is still being sent
        else:
            self.transport.abort()

    def _wait_for_client(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.stalled_seconds, self._end_if_stalled, waiting)

    def _end_if_stalled(self, before: int) -> None:
        if self.transport.get_write_buffer_size() > before - _LEAST_TAKEN:
            self.transport.abort()
        else:
            self._wait_for_client()

    def _make_room(self) -> None:
        for wire in self.unsent:
            self.unsent[wire] = wire.transport.get_write_buffer_size()
        while sum(self.unsent.values()) > _MOST_UNSENT:
            largest = max(self.unsent, key=self.unsent.__getitem__)
            del self.unsent[largest]
            largest.give_way()

    def _forget_timers(self) -> None:
        for timer in (self._unfinished, self._stalled):
            if timer:
                timer.cancel()


def wire_of(settings: Settings, most: int) -> type[Wire]:
    """Return the class of a server's connections, at most ``most``, for ``uvicorn.Config(http=…)``."""

    class _Wire(Wire):
        request_seconds = settings.request_seconds
        stalled_seconds = settings.stalled_seconds
        places = Shares(most, settings.address_share)
        unsent: ClassVar[dict[Wire, int]] = {}

    return _Wire
