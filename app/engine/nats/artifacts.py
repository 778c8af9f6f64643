"""Artifacts at the broker, in compressed pieces that a message can hold.

The broker's own object store is slower at each size. Zstandard takes 10 ms for the 4 MB of a program with the standard
library and leaves a quarter of them, so two workers end an eighth more such runs than without it.
"""

import math
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import zstandard

from app.engine import NothingBuiltError
from app.engine.nats import subjects
from app.engine.nats.broker import Broker, subject_of
from app.engine.nats.runlog import BrokerArtifact, StoredFile
from app.run import runner
from app.run.workspace import LARGEST_ARTIFACT
from app.runfiles import in_thread

_PIECE = 1024 * 1024
"""Bytes of a file in each piece but the last, before they are compressed."""
_LEVEL = 1
_ROOM = 8 * 1024
"""Bytes of compressed pieces that go with the run's last message: in a header, of which JetStream takes 64 KiB."""
_AT_ONCE = 4


async def store(broker: Broker, run_id: str, built: runner.Built) -> BrokerArtifact:
    """Store the files of an artifact, however long the broker is away. A piece that is stored twice counts once."""
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def put(subject: str, piece: bytes) -> None:
        async with limiter:
            await broker.publish(subject, piece, seconds=math.inf)

    files: list[StoredFile] = []
    room = _ROOM
    for number, path in enumerate((built.file, *built.companions)):
        size, pieces = await in_thread(_packed, path)
        piece = pieces.pop() if len(pieces) == 1 and len(pieces[0]) <= room else None
        room -= len(piece or b"")
        files.append(StoredFile(name=path.name, size=size, piece=piece))
        async with anyio.create_task_group() as tasks:
            for at, piece in enumerate(pieces):
                tasks.start_soon(put, subjects.built(run_id, number, at), piece)
    return BrokerArtifact(files=tuple(files))


async def fetch(broker: Broker, run_id: str, built: BrokerArtifact) -> list[tuple[str, bytes]]:
    """Return the names and contents of the files, or none if the broker does not have all of them any more."""
    files: list[tuple[str, bytes]] = []
    for number, file in enumerate(built.files):
        if not _is_sound(file):
            return []
        try:
            content = b"".join(map(_unpacked, await _pieces(broker, run_id, number, file)))
        except zstandard.ZstdError:
            return []
        if len(content) != file.size or "/" in file.name:
            return []
        files.append((file.name, content))
    return files


async def program(broker: Broker, run_id: str, built: BrokerArtifact) -> AsyncGenerator[bytes]:
    """Yield the program of an artifact in pieces. Raises ``NothingBuiltError`` if one of them is missing."""
    file = built.files[0]
    if not _is_sound(file):
        raise NothingBuiltError(run_id)
    for at in range(_count(file)):
        found = [] if file.piece else await broker.last(subjects.BUILT, subjects.built(run_id, 0, at))
        try:
            yield _unpacked(file.piece or found[0].data)
        except (IndexError, zstandard.ZstdError):
            raise NothingBuiltError(run_id) from None


async def _pieces(broker: Broker, run_id: str, number: int, file: StoredFile) -> list[bytes]:
    """Return the pieces of a file that the broker has."""
    if file.piece is not None:
        return [file.piece]
    found = await broker.read(subjects.BUILT, f"built.{run_id}.{number}.*")
    found.sort(key=lambda msg: int(subject_of(msg).rpartition(".")[2]))
    # A lost worker may have stored further pieces of a larger file.
    return [msg.data for msg in found[: _count(file)]]


def _packed(path: Path) -> tuple[int, list[bytes]]:
    """Return the size of a file, and its pieces."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    pieces: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while content := file.read(_PIECE):
            size += len(content)
            pieces.append(compressor.compress(content))
    return size, pieces


def _count(file: StoredFile) -> int:
    return math.ceil(file.size / _PIECE)


def _is_sound(file: StoredFile) -> bool:
    """Return False for what only a worker that lies announces: it could make its reader unpack without end."""
    return file.size <= LARGEST_ARTIFACT and (file.piece is None or _count(file) == 1)


def _unpacked(piece: bytes) -> bytes:
    """Return the content of a piece. Raises ``ZstdError`` if it is none."""
    # A worker can write anything, and the decompressor allocates what it announces.
    if zstandard.frame_content_size(piece) > _PIECE:
        raise zstandard.ZstdError("the piece is too large")
    return zstandard.ZstdDecompressor().decompress(piece)
