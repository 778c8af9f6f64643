"""Keys, certificates and permissions of a broker that others can reach, on a real one."""

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from nats.aio.msg import Msg

from app.course import Course, Lesson
from app.engine.nats import subjects
from app.engine.nats.broker import Broker, UnusableBrokerError
from app.engine.nats.engine import NatsEngine
from app.engine.nats.inventory import NatsInventory
from app.engine.nats.keys import init
from app.engine.nats.runlog import first_lease
from app.protocol.command import parse
from app.protocol.events import Event, Output, Verdict
from app.protocol.job import JobSpec
from app.sandbox import may_give
from app.settings import Settings
from app.toolchain import Toolchain
from tests.support.broker import SERVER, NatsServer, WorkerProcess
from tests.support.environment import EVERYTHING
from tests.support.jobs import job
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

INFO = b'INFO {"server_id": "x", "version": "2.12.0", "max_payload": 1, "tls_required": true}\r\n'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A broker with the configuration that ``init`` writes, on a port of its own."""
    folder = tmp_path_factory.mktemp("guarded") / "keys"
    init(folder, ())
    port = free_port()
    text = (folder / "server.conf").read_text()
    assert 'listen: "127.0.0.1:4222"' in text
    (folder / "server.conf").write_text(text.replace(":4222", f":{port}"))
    server = NatsServer(folder / "store", port, "--config", str(folder / "server.conf"))
    server.start()
    yield server
    server.kill()


def _url(server: NatsServer) -> str:
    return server.url.replace("nats://", "tls://")


async def _refused(broker: Broker, subject: str, *, listen: bool = False) -> bool:
    """Return True if the broker refuses a publication, or a subscription."""
    told: list[str] = []

    async def note(error: Exception) -> None:
        told.append(str(error).lower())

    async def nothing(_msg: Msg) -> None:
        """Take a message."""

    broker.client._error_cb = note
    if listen:
        await broker.client.subscribe(subject, cb=nothing)
    else:
        await broker.client.publish(subject, b"{}")
    await broker.client.flush()
    await anyio.sleep(0.05)
    return any("permissions violation" in one for one in told)


async def test_each_side_may_do_what_it_needs_and_no_more(guarded: NatsServer) -> None:
    keys = guarded.folder.parent
    web = await Broker(_url(guarded), "web", keys / "web").connect(5)
    worker = await Broker(_url(guarded), "worker", keys / "worker").connect(5)
    try:
        await web.ensure(3600)
        log = await first_lease(worker, "one", "worker")
        assert log
        await log.append([Output(id=1, stream="stdout", text="hello")])
        await worker.publish(subjects.built("one", 0, 0), b"piece")
        await worker.publish(subjects.worker("one"), b"{}")
        assert [msg.data for msg in await worker.read(subjects.BUILT, "built.one.0.*")] == [b"piece"]
        assert len(await web.last(subjects.WORKERS, subjects.worker("*"))) == 1
        refused = [
            subjects.job("group", None),
            subjects.spec("one", None),
            "run.one.cancel",
            "run.one.stored",
            "ask.other",
            subjects.forgotten("one"),
            "$JS.API.STREAM.PURGE.RUNS",
            "$JS.API.STREAM.DELETE.JOBS",
            "$JS.API.STREAM.INFO.RUNS",
            "$JS.API.STREAM.MSG.GET.JOBS",
            "$JS.API.DIRECT.GET.JOBS",
            "$JS.API.CONSUMER.DURABLE.CREATE.JOBS.mine",
            "$JS.API.CONSUMER.CREATE.RUNS",
            "_INBOX.web.guess",
            "live.run.one.ev",
        ]
        assert [subject for subject in refused if not await _refused(worker, subject)] == []
        heard = ["job.>", "run.*.spec.*", "live.>", "_INBOX.>", "_INBOX.web.>", "$JS.API.>", "$KV.>", ">"]
        assert [subject for subject in heard if not await _refused(worker, subject, listen=True)] == []
        assert await _refused(web, "_INBOX.worker.>", listen=True)
        assert not await _refused(worker, "run.*.cancel", listen=True)
        assert not await _refused(worker, "forget.*", listen=True)
        assert not await _refused(web, subjects.forgotten("one"))
        assert not await _refused(worker, subjects.held_by("other"))
        assert not await _refused(worker, subjects.executed("one"))
        assert not await _refused(web, subjects.executed("*"), listen=True)
    finally:
        await web.close()
        await worker.close()


async def test_only_certificates_of_its_own_open_the_broker(guarded: NatsServer, tmp_path: Path) -> None:
    init(tmp_path / "other", ())
    own = guarded.folder.parent / "worker"
    mixed = tmp_path / "mixed"
    shutil.copytree(tmp_path / "other/worker", mixed)
    shutil.copy(own / "ca.pem", mixed)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(own / "ca.pem", bare)
    for url, keys in (
        (guarded.url, None),
        (_url(guarded), tmp_path / "other/worker"),  # a broker of another authority
        (_url(guarded), mixed),  # a certificate of another authority
        (_url(guarded), bare),
        (_url(guarded), tmp_path / "missing"),
    ):
        with pytest.raises(UnusableBrokerError):
            await Broker(url, "worker", keys).connect(1)


async def test_a_worker_cannot_be_the_web_or_the_broker(guarded: NatsServer) -> None:
    keys = guarded.folder.parent
    url = _url(guarded).replace("tls://", "tls://CN=playground%20web:x@")
    with pytest.raises(UnusableBrokerError):
        await Broker(url, "worker", keys / "worker").connect(1)
    as_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    as_server.load_cert_chain(keys / "worker/worker.pem", keys / "worker/worker.key")
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:

        async def greet(stream: SocketStream) -> None:
            async with stream:
                await stream.send(INFO)
                with suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
                    await TLSStream.wrap(stream, server_side=True, ssl_context=as_server)

        tasks.start_soon(listener.serve, greet)
        port = listener.extra(SocketAttribute.local_port)
        with pytest.raises(UnusableBrokerError, match="certificate"):
            await Broker(f"tls://127.0.0.1:{port}", "web", keys / "web").connect(2)
        tasks.cancel_scope.cancel()


async def test_a_giant_message_costs_its_sender_the_connection_and_nobody_else(guarded: NatsServer) -> None:
    keys = guarded.folder.parent
    web = await Broker(_url(guarded), "web", keys / "web").connect(5)
    worker = await Broker(_url(guarded), "worker", keys / "worker").connect(5)
    try:
        await web.ensure(3600)
        worker.client._max_payload = 1 << 30  # as a program that does not keep to the bound
        await worker.client.publish(subjects.built("giant", 0, 0), b"x" * (5 * 1024 * 1024))
        with anyio.fail_after(10):
            while worker.connected:  # noqa: ASYNC110 - nothing else tells
                await anyio.sleep(0.02)
        assert (web.connected, web.reconnections) == (True, 0)
        assert await web.read(subjects.BUILT, "built.giant.>") == []
    finally:
        await web.close()
        await worker.close()


PROBE = """use std::{fs, io::Read, net::TcpStream, time::Duration};

fn main() {
    println!("probing");
    if let Ok(mut wire) = TcpStream::connect("127.0.0.1:PORT") {
        let mut greeting = [0; 4];
        wire.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let _ = wire.read(&mut greeting);
        println!("REACHED the broker: {greeting:?}");
    }
    for name in ["", "ca.pem", "worker.pem", "worker.key"] {
        if fs::metadata(format!("KEYS/{name}")).is_ok() { println!("SEEN KEYS/{name}"); }
        if fs::read(format!("KEYS/{name}")).is_ok() { println!("REACHED the bytes of KEYS/{name}"); }
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let told = fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&told).contains("ENGINE_KEYS") { println!("REACHED {:?}", entry.path()); }
    }
}
"""


@pytest.mark.parametrize("level", ["landlock", "namespaces", "none"] if EVERYTHING else ["landlock"])
async def test_a_program_in_a_run_reaches_neither_the_broker_nor_the_keys(
    level: str,
    guarded: NatsServer,
    settings: Settings,
    taught: Course,
    lessons: dict[str, Lesson],
    toolchain: Toolchain,
    open_folder: Path,
) -> None:
    keys = guarded.folder.parent
    given = {"PLAYGROUND_ENGINE_KEYS": str(keys / "worker"), "PLAYGROUND_ISOLATION": level}
    worker = await anyio.to_thread.run_sync(
        partial(WorkerProcess, _url(guarded), open_folder / "worker", 1, False, PLAYGROUND_RUN_SECONDS="120", **given)
    )
    inventory = NatsInventory(settings, (taught,), Broker(_url(guarded), "web", keys / "web"))
    main = PROBE.replace("PORT", str(guarded.port)).replace("KEYS", str(keys / "worker"))
    lesson = lessons["hello-std"]
    try:
        async with NatsEngine(settings, inventory, _nothing) as engine:
            with anyio.fail_after(60):
                while not inventory.workers():  # noqa: ASYNC110 - an inventory tells nobody
                    await anyio.sleep(0.05)
            probe = job(lesson, {**lesson.files, "src/main.rs": main}, parse("cargo run"), toolchain)
            await engine.submit(probe)
            with anyio.fail_after(120):
                events = [event async for event in engine.events(probe.run_id)]
    finally:
        worker.kill()
    said = "".join(event.text for event in events if isinstance(event, Output))
    assert "probing" in said
    # Without isolation it reaches both: the probe works.
    assert ("REACHED the broker" in said, "REACHED the bytes" in said) == (level == "none", level == "none"), said
    assert level == "none" or "REACHED" not in said, said
    # Landlock does not hide a file's name and size from the user that owns it.
    assert level == "none" or (level == "landlock" and not may_give()) or "SEEN" not in said, said


async def _nothing(_job: JobSpec, _events: Sequence[Event], _verdict: Verdict) -> None:
    """Keep no progress."""


def test_the_command_writes_a_configuration_that_the_server_takes(tmp_path: Path) -> None:
    playground = Path(sys.executable).with_name("playground")
    folder = tmp_path / "keys"
    command = [str(playground), "engine", "init", str(folder), "--host", "10.0.0.1", "--host", "broker.example"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"nats-server --config {folder}/server.conf" in done.stdout
    subprocess.run([SERVER, "--config", folder / "server.conf", "-t"], check=True, capture_output=True)
    assert 'listen: "10.0.0.1:4222"' in (folder / "server.conf").read_text()
    assert {path.stat().st_mode & 0o077 for path in folder.rglob("*")} == {0}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, "exists" in again.stderr) == (2, True)
