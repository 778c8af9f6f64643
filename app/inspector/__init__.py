"""Read untrusted artifacts and crates in processes that can only read and answer, each in its own sandbox.

A hostile file can make its reader loop, use all memory, or execute code of the file's choosing. ``worker`` describes
how each file gets a process of its own. The answers are JSON, which is only accepted in the form and size of facts or a
card. Everything else counts as a file of an unknown format.
"""

import json
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic import TypeAdapter, ValidationError

from app.binary import BinaryFacts, Card
from app.course.crate import CrateFacts
from app.runfiles import RunFolder, in_thread, removed
from app.sandbox import Box, Confined, confined, for_python, python_folders

SECONDS = 2
"""The processor time that one file may take."""

UNKNOWN = BinaryFacts("unknown", "", None, None, (), None, ())
PARTS = ("sections", "symbols", "code")
"""The parts that a card leaves out if only the facts are known."""

_log = logging.getLogger(__name__)
_APP = Path(__file__).parents[1]
_WORKER = Path(__file__).with_name("worker.py")
_WAIT = 30.0
"""The timeout for an answer, in seconds. It allows for a busy machine and for the start of a worker."""

_MEMORY = 256 * 1024 * 1024
_PROCESSES = 8
_TRIES = 2
_LONGEST_ANSWERS = {b"f": 128 * 1024, b"c": 512 * 1024, b"s": 256 * 1024}
"""The limits for facts, a card and a crate's facts, in bytes. Even an invalid answer takes the server time."""
_LONGEST_TEXT = 1000
_MOST_PARTS = 1000
_LARGEST_NUMBER = 2**66
_CHUNK = 64 * 1024
_ELF = b"\x7fELF"
_T = TypeVar("_T")
_FACTS = TypeAdapter(BinaryFacts)
_CARD = TypeAdapter(Card)
_CRATE = TypeAdapter(CrateFacts)


class _GoneError(Exception):
    """The worker has ended."""


@dataclass
class _Question:
    """A file or a text to read, and the answer. A question without either only makes sure that a worker is running."""

    what: Literal[b"f", b"c", b"s"] = b"f"
    file: Path | None = None
    companions: Sequence[Path] = ()
    text: bytes = b""
    answer: bytes = b""
    tries: int = 0
    done: anyio.Event = field(default_factory=anyio.Event)


class Inspector:
    """Reads artifacts in its boxes, one at a time in each.

    ``send`` and ``send_elf`` lead to the workers that read everything, and to those that only read facts of ELF files.
    """

    def __init__(
        self,
        send: MemoryObjectSendStream[_Question],
        send_elf: MemoryObjectSendStream[_Question],
        counts: Sequence[int],
    ) -> None:
        self._send = send
        self._send_elf = send_elf
        self._counts = counts
        self.peak_kb = 0

    @classmethod
    @asynccontextmanager
    async def start(
        cls, boxes: Sequence[Box], new_root: Callable[[], Path], elf_boxes: Sequence[Box] = ()
    ) -> AsyncIterator[Self]:
        """Yield an inspector that runs its workers. ``new_root`` returns the path of a new folder.

        The workers in ``elf_boxes`` are small and read the facts of an ELF file in a third of the time. Without them,
        the other workers do that, too.
        """
        send, receive = anyio.create_memory_object_stream[_Question](0)
        send_elf, receive_elf = anyio.create_memory_object_stream[_Question](0)
        with send, receive, send_elf, receive_elf:
            async with anyio.create_task_group() as tasks:
                inspector = cls(send, send_elf if elf_boxes else send, (len(boxes), len(elf_boxes)))
                for box in boxes:
                    tasks.start_soon(inspector._work, partial(_worker, box, new_root), receive)
                for box in elf_boxes:
                    tasks.start_soon(inspector._work, partial(_worker, box, new_root, "elf"), receive_elf)
                yield inspector
                tasks.cancel_scope.cancel()

    async def facts_of(self, file: Path) -> BinaryFacts:
        """Return the facts about a file; ``UNKNOWN`` if it is not a binary, is damaged, or exceeds time or memory."""
        send = self._send_elf if _is_elf(file) else self._send
        try:
            return _read(_FACTS, await self._ask(_Question(b"f", file), send)) or UNKNOWN
        except TimeoutError:
            return UNKNOWN

    async def card_of(
        self, file: Path, companions: Sequence[Path] = (), places: anyio.CapacityLimiter | None = None
    ) -> Card:
        """Return the card of a file: a partial one if the time runs out, one of ``UNKNOWN`` facts if it is unreadable.

        ``companions`` are files that hold its source lines; a damaged one only costs the card these lines. ``places``
        limits how many cards are read at once. Raises ``TimeoutError`` if the machine is too busy, and
        ``FileNotFoundError``.
        """
        size = file.stat().st_size
        draft, _, whole = (await self._ask(_Question(b"c", file, companions), places=places)).partition(b"\x1e")
        card = _read(_CARD, whole) or _read(_CARD, draft)
        return replace(card, bytes=size) if card else Card(UNKNOWN, size, unread=PARTS)

    async def crate_of(self, files: Mapping[str, str]) -> CrateFacts:
        """Return the facts of a crate's files; empty ones if reading them exceeds time or memory."""
        try:
            answer = await self._ask(_Question(b"s", text=json.dumps(dict(files)).encode()))
        except TimeoutError:
            return CrateFacts()
        return _read(_CRATE, answer) or CrateFacts()

    async def warm(self) -> None:
        """Start the workers now, so that a learner's first run need not wait for them."""
        async with anyio.create_task_group() as group:
            for send, count in zip((self._send, self._send_elf), self._counts, strict=True):
                for _ in range(count):
                    group.start_soon(self._ask, _Question(), send)

    async def _ask(
        self,
        question: _Question,
        send: MemoryObjectSendStream[_Question] | None = None,
        places: anyio.CapacityLimiter | None = None,
    ) -> bytes:
        with anyio.fail_after(_WAIT):
            async with places or anyio.CapacityLimiter(1):
                await (send or self._send).send(question)
                await question.done.wait()
        return question.answer

    async def _work(
        self,
        start: Callable[[], AbstractAsyncContextManager["_Worker"]],
        questions: MemoryObjectReceiveStream[_Question],
    ) -> None:
        """Answer questions until cancelled. Replace a worker that has ended or was too slow with the next question."""
        question = await questions.receive()
        while True:
            try:
                async with start() as worker:
                    while True:
                        await worker.answer(question)
                        self.peak_kb = max(self.peak_kb, worker.peak_kb)
                        question = await questions.receive()
            except Exception as error:
                # Any error ends only this worker. It must not end the task group, and with it all runs.
                _log.warning("a worker of the inspector has ended: %r", error)
                question.tries += 1
                # A file cannot end a worker, only its child. The worker ended for another reason, so try again.
                if not isinstance(error, TimeoutError) and not question.answer and question.tries < _TRIES:
                    continue
            question.done.set()
            question = await questions.receive()


@asynccontextmanager
async def _worker(box: Box, new_root: Callable[[], Path], *words: str) -> AsyncIterator["_Worker"]:
    root = new_root()
    folders = python_folders(_APP)
    tight = replace(box.limits, memory_bytes=_MEMORY, processes=_PROCESSES, file_size_bytes=0)
    kept = for_python(replace(box, limits=tight, filters=True), folders)
    argv = [sys.executable, "-I", "-B", str(_WORKER), str(SECONDS), *words]
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs:
            await in_thread(_make_root, root, kept)
            ours.setblocking(False)
            async with confined(kept, argv, root, root, {}, folders, stdin=theirs.fileno()) as child:
                theirs.close()
                yield await _Worker.start(ours, child)
    finally:
        with anyio.CancelScope(shield=True):
            await removed(root)


def _is_elf(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_ELF)) == _ELF
    except OSError:
        return False


def _make_root(root: Path, box: Box) -> None:
    RunFolder(root).make().close()
    box.own(root)


class _Worker:
    """The server's side of a worker. It takes the next question when the child that read the last file is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self.peak_kb = 0

    @classmethod
    async def start(cls, control: socket.socket, child: Confined) -> "_Worker":
        """Return a worker that is ready. Raises ``_GoneError`` with its error output, and ``TimeoutError``."""
        worker = cls(control)
        with anyio.fail_after(_WAIT):
            try:
                await worker._ready()
            except _GoneError:
                assert child.process.stderr is not None
                errors = b""
                with suppress(anyio.EndOfStream):
                    errors = await child.process.stderr.receive()
                raise _GoneError(errors.decode("utf-8", "replace")[-_LONGEST_TEXT:]) from None
        return worker

    async def answer(self, question: _Question) -> None:
        """Answer one question. After ``_GoneError``, ``TimeoutError`` or ``OSError`` the worker must be replaced."""
        with anyio.fail_after(_WAIT):
            if question.file is not None or question.text:
                with suppress(FileNotFoundError), ExitStack() as stack:
                    files = [_open_question(question, stack)]
                    for one in question.companions:
                        with suppress(FileNotFoundError):
                            files.append(stack.enter_context(one.open("rb")).fileno())
                    question.answer = await self._request(question.what, *files)
                    if question.answer:
                        question.done.set()
                    await self._ready()
        question.done.set()

    async def _request(self, what: bytes, file: int, *companions: int) -> bytes:
        source, sink = os.pipe()
        try:
            try:
                socket.send_fds(self._control, [what], [file, sink, *companions])
            finally:
                os.close(sink)
            os.set_blocking(source, False)
            return await _read_line(source, _LONGEST_ANSWERS[what])
        finally:
            os.close(source)

    async def _ready(self) -> None:
        await anyio.wait_readable(self._control)
        line = self._control.recv(_CHUNK)
        if not line:
            raise _GoneError
        # There are several lines if the OOM killer ended a child before it got a question.
        self.peak_kb = max(map(int, line.split()))


def _open_question(question: _Question, stack: ExitStack) -> int:
    """Return a descriptor of the question's file or text, which the stack closes."""
    if question.file is not None:
        return stack.enter_context(question.file.open("rb")).fileno()
    with tempfile.TemporaryFile() as file:
        file.write(question.text)
        file.seek(0)
        # The file has no name, so it ends with its last descriptor.
        descriptor = os.dup(file.fileno())
    stack.callback(os.close, descriptor)
    return descriptor


async def _read_line(source: int, most: int) -> bytes:
    """Return one line, or no bytes if it is longer than ``most``.

    It does not wait for the end of the pipe: the kernel frees an ending child's memory, which takes 3 ms, before it
    closes its files.
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
    """Validate an answer; return None if it is invalid. A reader that a hostile file controls can send anything."""
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
