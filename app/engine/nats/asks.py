"""Questions of the web that a worker answers: a request with a line of JSON each way, the answer compressed."""

import json
import zlib
from typing import Any

import nats.errors
from pydantic import TypeAdapter

from app.binary import Card
from app.engine import ArtifactDetails, EngineUnavailableError, NoSuchRunError, NothingBuiltError
from app.engine.nats import words
from app.engine.nats.broker import Broker
from app.stepper import NotSteppedError, Trace
from app.toolchain import DoctorReport

SECONDS = 30.0
_LARGEST = 64 * 1024 * 1024
ANSWERS: dict[str, TypeAdapter[Any]] = {
    "card": TypeAdapter(Card | None),
    "details": TypeAdapter(ArtifactDetails),
    "steps": TypeAdapter(Trace),
    "explain": TypeAdapter(str | None),
    "examine": TypeAdapter(DoctorReport),
    "missing_tools": TypeAdapter(tuple[tuple[str, ...], str | None]),
    "want": TypeAdapter(None),
    "refused": TypeAdapter(None),
}
ERRORS = {one.__name__: one for one in (NoSuchRunError, NothingBuiltError, NotSteppedError)}


class NobodyThereError(Exception):
    """No worker listens to the subject."""


def question(name: str, *arguments: object) -> bytes:
    """Return a question."""
    return json.dumps([name, *arguments]).encode()


def answer(name: str, value: object) -> bytes:
    """Return an answer."""
    return zlib.compress(b'{"answer": ' + ANSWERS[name].dump_json(value) + b"}", 1)


def refusal(error: Exception) -> bytes:
    """Return an answer that raises the error again. An error that the protocol does not know is a fault."""
    name = type(error).__name__
    told = {"error": name if name in ERRORS else "", "text": str(error)}
    return zlib.compress(json.dumps(told).encode(), 1)


async def ask(broker: Broker, subject: str, name: str, *arguments: object, seconds: float = SECONDS) -> Any:
    """Return a worker's answer. Raises its error, ``NobodyThereError`` or ``EngineUnavailableError``."""
    if not broker.connected:
        raise EngineUnavailableError(words.BROKER_GONE)
    try:
        msg = await broker.client.request(subject, question(name, *arguments), timeout=seconds)
    except nats.errors.NoRespondersError as error:
        raise NobodyThereError(subject) from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise EngineUnavailableError(f"{subject} does not answer: {error}") from error
    try:
        told = json.loads(_unpacked(msg.data))
    except (ValueError, zlib.error) as error:
        raise EngineUnavailableError(f"{subject} gives an answer that cannot be read: {error}") from error
    if "error" in told:
        raise ERRORS.get(told["error"], EngineUnavailableError)(told["text"])
    return ANSWERS[name].validate_python(told["answer"])


def _unpacked(data: bytes) -> bytes:
    """Return a compressed answer as text, unless a few bytes were to fill the memory. Raises ``ValueError``."""
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(data, _LARGEST)
    if unpacking.unconsumed_tail:
        raise ValueError(f"it has more than {_LARGEST} bytes")
    return text
