"""Keys, certificates and permissions of a broker that others can reach, on a real one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from nats.aio.msg import Msg

from app.engine.nats import subjects
from app.engine.nats.broker import Broker, UnusableBrokerError
from app.engine.nats.keys import Nkey, init
from app.engine.nats.runlog import first_lease
from app.protocol.events import Output
from tests.support.broker import SERVER, NatsServer, free_port

pytestmark = pytest.mark.anyio


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
            "$JS.API.STREAM.PURGE.RUNS",
            "$JS.API.STREAM.DELETE.JOBS",
            "$JS.API.STREAM.INFO.RUNS",
            "$JS.API.STREAM.MSG.GET.JOBS",
            "$JS.API.DIRECT.GET.JOBS",
            "$JS.API.CONSUMER.DURABLE.CREATE.JOBS.mine",
            "$JS.API.CONSUMER.CREATE.RUNS",
            "_INBOX.web.guess",
        ]
        assert [subject for subject in refused if not await _refused(worker, subject)] == []
        heard = ["job.>", "run.*.spec.*", "live.>", "_INBOX.>", "_INBOX.web.>", "$JS.API.>", "$KV.>", ">"]
        assert [subject for subject in heard if not await _refused(worker, subject, listen=True)] == []
        assert await _refused(web, "_INBOX.worker.>", listen=True)
        assert not await _refused(worker, "run.*.cancel", listen=True)
    finally:
        await web.close()
        await worker.close()


async def test_who_has_no_key_does_not_get_in(guarded: NatsServer, tmp_path: Path) -> None:
    init(tmp_path / "other", ())
    own = guarded.folder.parent / "worker"
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "ca.pem").write_bytes((own / "ca.pem").read_bytes())
    (mixed / "worker.nk").write_bytes((tmp_path / "other/worker/worker.nk").read_bytes())
    for url, keys in (
        (guarded.url, None),
        (_url(guarded), tmp_path / "other/worker"),  # another authority
        (_url(guarded), mixed),  # another key
        (_url(guarded), tmp_path / "missing"),
    ):
        with pytest.raises(UnusableBrokerError):
            await Broker(url, "worker", keys).connect(1)


def test_a_seed_has_the_form_of_nats(tmp_path: Path) -> None:
    secret = bytes(range(32))
    key = Nkey(secret)
    assert key.seed.startswith(b"SU")
    assert len(key.seed) == 58
    assert key.public.startswith("U")
    assert len(key.public) == 56
    (tmp_path / "web.nk").write_bytes(key.seed + b"\n")
    assert Nkey.of(tmp_path, "web").public == key.public
    (tmp_path / "web.nk").write_bytes(key.public.encode())
    with pytest.raises(ValueError, match="not the seed"):
        Nkey.of(tmp_path, "web")


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
