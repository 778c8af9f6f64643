"""A broker in this process, for tests that decide when it answers."""

from fnmatch import fnmatchcase

import anyio
import anyio.lowlevel
from nats.aio.msg import Msg

from app.engine import EngineUnavailableError
from app.engine.nats.broker import Broker, FencedError, subject_of

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"


class MemoryBroker(Broker):
    """Messages in a list. Clear ``answers`` to delay ``read``, and set ``away`` to make every call fail."""

    def __init__(self) -> None:
        super().__init__("nats://nowhere")
        self.messages: list[Msg] = []
        self.answers = anyio.Event()
        self.answers.set()
        self.away = False

    def delay(self) -> None:
        """Let ``read`` wait until ``answers`` is set."""
        self.answers = anyio.Event()

    async def lose(self) -> None:
        """Do what follows when the connection is lost."""
        await self._lost()

    async def come_back(self) -> None:
        """Do what follows when the connection is there again."""
        await self._reconnected()

    async def publish(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, seconds: float = 5.0
    ) -> int:
        """Store a message at once."""
        del seconds
        await self._pause()
        given = headers or {}
        assert sum(len(name) + len(value) + 4 for name, value in given.items()) < 65_000, (
            "JetStream refuses such headers"
        )
        of = given.get(f"{_EXPECTED}-Subject", subject)
        last = max((at for at, msg in enumerate(self.messages, 1) if subject_of(msg) == of), default=0)
        if int(given.get(_EXPECTED, last)) != last:
            raise FencedError(subject)
        sequence = len(self.messages) + 1
        stored = {**given, "Nats-Sequence": str(sequence), "Nats-Subject": subject}
        self.messages.append(Msg(self.client, subject, data=data, headers=stored))
        return sequence

    async def read(self, stream: str, subject: str, after: int = 0) -> list[Msg]:
        """Return the messages of a subject."""
        del stream
        await self.answers.wait()
        await self._pause()
        return [msg for msg in self.messages[after:] if fnmatchcase(subject_of(msg), subject)]

    async def last(self, stream: str, *wanted: str) -> list[Msg]:
        """Return the last message of each subject that matches."""
        del stream
        await self._pause()
        found = {subject_of(msg): msg for msg in self.messages}
        return [msg for subject, msg in found.items() if any(fnmatchcase(subject, one) for one in wanted)]

    async def _pause(self) -> None:
        await anyio.lowlevel.checkpoint()
        if self.away:
            raise EngineUnavailableError("the broker is away")
