"""Artifacts at the broker, in pieces that a message can hold. The broker's own object store is slower at each size."""

import math

import anyio

from app.engine.nats import subjects
from app.engine.nats.broker import Broker, subject_of
from app.engine.nats.runlog import BrokerArtifact, StoredFile
from app.run import runner
from app.runfiles import in_thread

_AT_ONCE = 4


async def store(broker: Broker, run_id: str, built: runner.Built) -> BrokerArtifact:
    """Store the files of an artifact, however long the broker is away. A piece that is stored twice counts once."""
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def put(subject: str, data: bytes) -> None:
        async with limiter:
            await broker.publish(subject, data, seconds=math.inf)

    files: list[StoredFile] = []
    for number, path in enumerate((built.file, *built.companions)):
        content = await in_thread(path.read_bytes)
        files.append(StoredFile(name=path.name, bytes=len(content)))
        async with anyio.create_task_group() as tasks:
            for at in range(0, len(content), subjects.PIECE):
                subject = subjects.built(run_id, number, at // subjects.PIECE)
                tasks.start_soon(put, subject, content[at : at + subjects.PIECE])
    return BrokerArtifact(files=tuple(files))


async def fetch(broker: Broker, run_id: str, built: BrokerArtifact) -> list[tuple[str, bytes]]:
    """Return the names and contents of the files, or none if the broker does not have all of them any more."""
    files: list[tuple[str, bytes]] = []
    for number, file in enumerate(built.files):
        pieces = await broker.read(subjects.BUILT, f"built.{run_id}.{number}.*")
        pieces.sort(key=lambda msg: int(subject_of(msg).rpartition(".")[2]))
        content = b"".join(msg.data for msg in pieces)
        if len(content) != file.bytes or "/" in file.name:
            return []
        files.append((file.name, content))
    return files
