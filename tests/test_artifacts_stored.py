"""Artifacts at the broker: compressed, and taken back only if they are what was announced."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from nats.aio.msg import Msg

from app.engine import NothingBuiltError
from app.engine.nats import artifacts
from app.engine.nats.runlog import BrokerArtifact, RunLog, StoredFile, in_order
from app.protocol.events import Verdict, to_json
from app.run.runner import Built
from tests.support.memory_broker import MemoryBroker

pytestmark = pytest.mark.anyio

NOISE = random.Random(0).randbytes(2_500_000)
TEXT = NOISE[:100_000] * 25


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def stored(broker: MemoryBroker, folder: Path, *contents: bytes) -> BrokerArtifact:
    paths = [folder / f"blog_os.{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    built = Built(paths[0], "target/debug/blog_os", tuple(paths[1:]), sum(map(len, contents)))
    return await artifacts.store(broker, "one", built)


async def downloaded(broker: MemoryBroker, built: BrokerArtifact) -> bytes:
    return b"".join([piece async for piece in artifacts.program(broker, "one", built)])


async def test_every_file_comes_back_and_takes_less_room_meanwhile(broker: MemoryBroker, tmp_path: Path) -> None:
    built = await stored(broker, tmp_path, TEXT, NOISE, b"")
    assert await artifacts.fetch(broker, "one", built) == [
        ("blog_os.0", TEXT),
        ("blog_os.1", NOISE),
        ("blog_os.2", b""),
    ]
    assert await downloaded(broker, built) == TEXT
    assert sum(len(msg.data) for msg in broker.messages if msg.subject.startswith("built.one.0.")) < len(TEXT) / 5


async def test_a_small_program_needs_no_message_of_its_own(broker: MemoryBroker, tmp_path: Path) -> None:
    built = await stored(broker, tmp_path, NOISE[:8000])
    assert broker.messages == []
    again = BrokerArtifact.model_validate_json(built.model_dump_json())
    assert await artifacts.fetch(broker, "one", again) == [("blog_os.0", NOISE[:8000])]
    assert await downloaded(broker, again) == NOISE[:8000]


async def test_a_larger_file_of_a_lost_worker_does_no_harm(broker: MemoryBroker, tmp_path: Path) -> None:
    await stored(broker, tmp_path, NOISE)
    built = await stored(broker, tmp_path, NOISE[:1000])
    broker.messages[:] = {msg.subject: msg for msg in broker.messages}.values()
    assert await artifacts.fetch(broker, "one", built) == [("blog_os.0", NOISE[:1000])]
    assert await downloaded(broker, built) == NOISE[:1000]


async def test_what_goes_with_the_last_message_fits_into_its_header(broker: MemoryBroker, tmp_path: Path) -> None:
    contents = [NOISE[at : at + 8000] for at in range(9)]
    built = await stored(broker, tmp_path, *contents)
    await RunLog(broker, "one").append([Verdict(id=1, reached=True, checks=())], built)
    assert [content for _, content in await artifacts.fetch(broker, "one", built)] == contents


def without_the_last(messages: list[Msg]) -> None:
    messages.pop()


def damaged(messages: list[Msg]) -> None:
    messages[-1].data = messages[-1].data[:-9] + b"otherwise"


def larger_than_a_piece(messages: list[Msg]) -> None:
    messages[-1].data = zstandard.ZstdCompressor().compress(bytes(2**30))


@pytest.mark.parametrize("change", [without_the_last, damaged, larger_than_a_piece])
async def test_what_is_not_as_announced_counts_as_expired(
    broker: MemoryBroker, tmp_path: Path, change: Callable[[list[Msg]], None]
) -> None:
    built = await stored(broker, tmp_path, NOISE)
    change(broker.messages)
    assert await artifacts.fetch(broker, "one", built) == []
    with pytest.raises(NothingBuiltError):
        await downloaded(broker, built)


@pytest.mark.parametrize(
    "file",
    [
        StoredFile(name="blog_os", size=len(TEXT) - 1),
        StoredFile(name="blog_os", size=10**15),
        StoredFile(name="blog_os", size=2**21, piece=zstandard.ZstdCompressor().compress(bytes(2**20))),
    ],
    ids=["less than there is", "endless", "one piece again and again"],
)
async def test_a_size_that_is_not_true_counts_as_expired(
    broker: MemoryBroker, tmp_path: Path, file: StoredFile
) -> None:
    await stored(broker, tmp_path, TEXT)
    built = BrokerArtifact(files=(file,))
    assert await artifacts.fetch(broker, "one", built) == []
    if file.size > len(TEXT) or file.piece:
        with pytest.raises(NothingBuiltError):
            await downloaded(broker, built)


async def test_an_announcement_that_cannot_be_read_costs_only_the_artifact(broker: MemoryBroker) -> None:
    verdict = Verdict(id=1, reached=True, checks=())
    await broker.publish("run.one.ev", to_json(verdict).encode(), {"Playground-Built": '{"files": [{"name": "x"}]}'})
    assert in_order(broker.messages) == ([verdict], None)
