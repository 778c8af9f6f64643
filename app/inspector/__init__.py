"""Reads what a stranger wrote, and what their run built: in boxes of its own, by processes that only read and answer.

A file can be made so that reading it takes for ever, all memory, or the reader itself over. ``worker`` says how each is
read by a process of its own. What it answers is JSON, which is taken only in the shape, and within the size, of facts
or a card; anything else is reported as a file of an unknown format.
"""

import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import TypeAdapter, ValidationError

from app.binary import BinaryFacts, Card
from app.crate import CrateFacts
from app.runfiles import RunFolder, in_thread, removed
from app.sandbox import Box, Confined, confined, for_python, python_folders

SECONDS = 2
"""The processor time that one file may take."""

UNKNOWN = BinaryFacts("unknown", "", None, None, (), None, ())
PARTS = ("sections", "symbols", "code")
"""What a card leaves out when nothing but the facts can be said."""

_log = logging.getLogger(__name__)
_APP = Path(__file__).parents[1]
_WORKER = Path(__file__).with_name("worker.py")
_WAIT = 30.0
"""The longest that anybody waits for an answer, also on a busy machine and when a worker has to be started first."""

_MEMORY = 256 * 1024 * 1024
_PROCESSES = 8
_TRIES = 2
_LONGEST_ANSWERS = {b"f": 128 * 1024, b"c": 512 * 1024, b"s": 256 * 1024}
"""Bytes of facts, of a card and of a crate's facts: what is no such thing still takes time until it is refused."""
_LONGEST_TEXT = 1000
_MOST_PARTS = 1000
_LARGEST_NUMBER = 2**66
_CHUNK = 64 * 1024
_T = TypeVar("_T")
_FACTS = TypeAdapter(BinaryFacts)
_CARD = TypeAdapter(Card)
_CRATE = TypeAdapter(CrateFacts)


class _GoneError(Exception):
    """The worker has ended."""


@dataclass
class _Question:
    """What to read, and what was answered; without anything to read a worker is only to be there."""

    what: Literal[b"f", b"c", b"s"] = b"f"
    file: Path | None = None
    companions: Sequence[Path] = ()
    text: bytes = b""
    answer: bytes = b""
    tries: int = 0
    done: anyio.Event = field(default_factory=anyio.Event)


class Inspector:
    """Reads artefacts, one in each of its boxes at a time."""

    def __init__(self, send: MemoryObjectSendStream[_Question], count: int) -> None:
        self._send = send
        self._count = count
        self.peak_kb = 0

    @classmethod
    @asynccontextmanager
    async def begun(cls, boxes: Sequence[Box], new_root: Callable[[], Path]) -> AsyncIterator[Self]:
        """An inspector and its workers; ``new_root`` names a folder that does not exist yet."""
        send, receive = anyio.create_memory_object_stream[_Question](0)
        with send, receive:
            async with anyio.create_task_group() as tasks:
                inspector = cls(send, len(boxes))
                for box in boxes:
                    tasks.start_soon(inspector._work, box, new_root, receive)
                yield inspector
                tasks.cancel_scope.cancel()

    async def facts_of(self, file: Path) -> BinaryFacts:
        """The facts of one file; ``UNKNOWN`` for what is no binary, is damaged, or takes too long or too much."""
        try:
            return _read(_FACTS, await self._ask(_Question(b"f", file))) or UNKNOWN
        except TimeoutError:
            return UNKNOWN

    async def card_of(
        self, file: Path, companions: Sequence[Path] = (), places: anyio.CapacityLimiter | None = None
    ) -> Card:
        """The card of one file, partial rather than late; of ``UNKNOWN`` facts for what cannot be read.

        ``companions`` are files that know its lines; one that is damaged takes no more than these away. ``places``
        limits how many are read at once. Raises ``TimeoutError`` when the machine is too busy to read it,
        ``FileNotFoundError``.
        """
        size = file.stat().st_size
        draft, _, whole = (await self._ask(_Question(b"c", file, companions), places)).partition(b"\x1e")
        card = _read(_CARD, whole) or _read(_CARD, draft)
        return replace(card, bytes=size) if card else Card(UNKNOWN, size, unread=PARTS)

    async def crate_of(self, files: Mapping[str, str]) -> CrateFacts:
        """Return the facts of a crate's files; empty ones when reading them takes too long or too much."""
        try:
            answer = await self._ask(_Question(b"s", text=json.dumps(dict(files)).encode()))
        except TimeoutError:
            return CrateFacts()
        return _read(_CRATE, answer) or CrateFacts()

    async def warm(self) -> None:
        """Start the workers now rather than in a learner's first run."""
        async with anyio.create_task_group() as group:
            for _ in range(self._count):
                group.start_soon(self._ask, _Question())

    async def _ask(self, question: _Question, places: anyio.CapacityLimiter | None = None) -> bytes:
        with anyio.fail_after(_WAIT):
            async with places or anyio.CapacityLimiter(1):
                await self._send.send(question)
                await question.done.wait()
        return question.answer

    async def _work(
        self, box: Box, new_root: Callable[[], Path], questions: MemoryObjectReceiveStream[_Question]
    ) -> None:
        """Answer for ever; a worker that has gone, or was too slow, is followed by a new one when it is needed."""
        question = await questions.receive()
        while True:
            try:
                async with _worker(box, new_root()) as worker:
                    while True:
                        await worker.answer(question)
                        self.peak_kb = max(self.peak_kb, worker.peak_kb)
                        question = await questions.receive()
            except Exception as error:
                # Whatever it was, even an answer that is none: it ends with its worker, and not with all runs.
                _log.warning("a worker of the inspector has gone: %r", error)
                question.tries += 1
                # No file can end a worker: it went for another reason, maybe before it was asked.
                if not isinstance(error, TimeoutError) and not question.answer and question.tries < _TRIES:
                    continue
            question.done.set()
            question = await questions.receive()


@asynccontextmanager
async def _worker(box: Box, root: Path) -> AsyncIterator["_Worker"]:
    folders = python_folders(_APP)
    tight = replace(box.limits, memory_bytes=_MEMORY, processes=_PROCESSES, file_size_bytes=0)
    kept = for_python(replace(box, limits=tight, filters=True), folders)
    argv = [sys.executable, "-I", "-B", str(_WORKER), str(SECONDS)]
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs:
            await in_thread(_lay, root, kept)
            ours.setblocking(False)
            async with confined(kept, argv, root, root, {}, folders, stdin=theirs.fileno()) as child:
                theirs.close()
                yield await _Worker.begun(ours, child)
    finally:
        with anyio.CancelScope(shield=True):
            await removed(root)


def _lay(root: Path, box: Box) -> None:
    RunFolder(root).make().close()
    box.own(root)


class _Worker:
    """The server's end of a worker: it is asked for one answer at a time, and is ready when its child has gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.peak_kb = 0

    @classmethod
    async def begun(cls, control: socket.socket, child: Confined) -> "_Worker":
        """A worker that has its readers. Raises ``_GoneError`` with what it said, ``TimeoutError``."""
        worker = cls(control)
        with anyio.fail_after(_WAIT):
            try:
                await worker._ready()
            except _GoneError:
                assert child.process.stderr is not None
                said = b""
                with suppress(anyio.EndOfStream):
                    said = await child.process.stderr.receive()
                raise _GoneError(said.decode("utf-8", "replace")[-_LONGEST_TEXT:]) from None
        return worker

    async def answer(self, question: _Question) -> None:
        """Answer one question. Raises ``_GoneError``, ``TimeoutError``, ``OSError``: its end is due then."""
        with anyio.fail_after(_WAIT):
            if question.file is not None or question.text:
                with suppress(FileNotFoundError), ExitStack() as opened:
                    files = [_opened(question, opened)]
                    for one in question.companions:
                        with suppress(FileNotFoundError):
                            files.append(opened.enter_context(one.open("rb")).fileno())
                    question.answer = await self._have_read(question.what, *files)
                    if question.answer:
                        question.done.set()
                    await self._ready()
        question.done.set()

    async def _have_read(self, what: bytes, file: int, *companions: int) -> bytes:
        source, sink = os.pipe()
        try:
            try:
                socket.send_fds(self._control, [what], [file, sink, *companions])
            finally:
                os.close(sink)
            os.set_blocking(source, False)
            return await _all_of(source, _LONGEST_ANSWERS[what])
        finally:
            os.close(source)

    async def _ready(self) -> None:
        await anyio.wait_readable(self._control)
        line = self._control.recv(_CHUNK)
        if not line:
            raise _GoneError
        # More than one when a child was ended before it was asked, as the kernel does when memory runs out.
        self.peak_kb = max(map(int, line.split()))


def _opened(question: _Question, opened: ExitStack) -> int:
    """Return the descriptor of what is to be read."""
    if question.file is not None:
        return opened.enter_context(question.file.open("rb")).fileno()
    with tempfile.TemporaryFile() as file:
        file.write(question.text)
        file.seek(0)
        # A file of its own, without a name: it ends with its last descriptor.
        descriptor = os.dup(file.fileno())
    opened.callback(os.close, descriptor)
    return descriptor


async def _all_of(source: int, most: int) -> bytes:
    """What comes to the end of its line; nothing when that is too much.

    Not to the end of the pipe: a child that ends closes its files last, after its memory, which takes 3 ms.
    """
    found = bytearray()
    data = b""
    while len(found) <= most and not data.endswith(b"\n"):
        await anyio.wait_readable(source)
        data = os.read(source, _CHUNK)
        if not data:
            break
        found += data
    return bytes(found) if len(found) <= most else b""


def _read(form: TypeAdapter[_T], answer: bytes) -> _T | None:
    """The answer in its form; None for anything else, for a reader that was taken over can answer what it likes."""
    try:
        found = form.validate_json(answer, strict=True)
    except ValidationError:
        return None
    return found if _is_sound(found) else None


def _is_sound(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT and value.isprintable()
    if isinstance(value, int):
        return 0 <= value < _LARGEST_NUMBER
    if isinstance(value, tuple):
        return len(value) <= _MOST_PARTS and all(map(_is_sound, value))
    return value is None or (is_dataclass(value) and all(map(_is_sound, vars(value).values())))
