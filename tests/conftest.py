"""What the tests share: the real toolchains of this machine, a real server, and no skips in CI."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.course import Course, Lesson, load_shelf
from app.course.diagnosis import Diagnosis
from app.course.prove import CourseReport, Proof, keep_report
from app.engine.scratch import Scratch
from app.inspector import Inspector
from app.protocol.events import Diagnostic
from app.sandbox import detect
from app.settings import Settings
from app.toolchain import Toolchain, discover

BARE_METAL = "thumbv7em-none-eabihf"
SLOWER_BY = int(os.environ.get("SLOWER_BY", "1"))
"""How much longer than usual a program may take: emulated processors are slow (``tools/virtual-debian``)."""
EVERYTHING = bool(os.environ.get("TEST_ALL"))
"""Try every combination, as `make test-all` does."""
_skipped: list[str] = []


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shipped() -> Settings:
    """The settings as they are on this machine: its lessons, its cache."""
    return Settings()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that the users of runs can pass, which those of ``tmp_path`` are not when root runs the tests."""
    with tempfile.TemporaryDirectory(prefix="playground-test-") as folder:
        os.chmod(folder, 0o711)
        yield Path(folder).resolve()


@asynccontextmanager
async def inspecting(settings: Settings) -> AsyncIterator[Inspector]:
    """An inspector with two workers, isolated as the settings say."""
    isolation = await detect(settings, await discover(settings.cache_dir))
    async with Scratch(settings.scratch_dir) as scratch:
        with isolation.slots(2) as boxes:
            async with Inspector.start(boxes, scratch.new_root) as inspector:
                yield inspector


@pytest.fixture
def settings(tmp_path: Path, open_folder: Path, shipped: Settings) -> Settings:
    """Settings with folders of the test's own; the cache of built targets is shared."""
    return shipped.model_copy(update={"data_dir": tmp_path / "data", "scratch_dir": open_folder / "scratch"})


def course_toml(*lessons: str) -> str:
    """The ``course.toml`` of a course whose only part has the lessons in these folders."""
    return f"""
title = "A Course"
intro = "What it is about."
crate = "blog_os"
essential_targets = ["{BARE_METAL}"]
bare_keys = true
[post]
title = "A Post"
author = "An Author"
address = "https://example.org/a-post/"
licence = "Its content is [free](https://example.org/licence)."
[post.sections]
"A section" = "a-section"
"Panic Implementation" = "panic-implementation"
[[part]]
title = "Steps"
lessons = {list(lessons)}
"""


@pytest.fixture(scope="session")
def two_courses(tmp_path_factory: pytest.TempPathFactory, shipped: Settings) -> Path:
    """A folder with the course that comes with the playground and a tiny one, which sorts behind it."""
    folder = tmp_path_factory.mktemp("courses")
    for course in (*shipped.lessons_dir.iterdir(), Path(__file__).parent / "courses" / "tiny"):
        (folder / course.name).symlink_to(course)
    return folder


@pytest.fixture(scope="session")
def taught(shipped: Settings) -> Course:
    """The course that comes with the playground."""
    return load_shelf(shipped.lessons_dir).default


@pytest.fixture(scope="session")
def lessons(taught: Course) -> dict[str, Lesson]:
    return {lesson.slug: lesson for lesson in taught.lessons}


@pytest.fixture(scope="session")
def diagnosis(taught: Course) -> Diagnosis:
    return taught.diagnosis


@pytest.fixture(scope="session")
def toolchains(shipped: Settings) -> tuple[Toolchain, ...]:
    found = anyio.run(discover, shipped.cache_dir)
    assert found, "no toolchain: run make setup"
    return found


@pytest.fixture(scope="session")
def bare_metal(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    """A toolchain that builds for the bare-metal target."""
    able = [toolchain for toolchain in toolchains if toolchain.can_build(BARE_METAL)]
    if not able:
        pytest.skip(f"no toolchain here has {BARE_METAL}; make setup says what to install")
    return able[0]


def below(folder: Path) -> Iterator[Path]:
    """Yield every path below a folder while others may be deleting it, where ``Path.rglob`` would raise."""
    for top, folders, files in os.walk(folder):
        yield from (Path(top, name) for name in (*folders, *files))


def naming(text: str) -> list[int]:
    """The processes whose arguments hold a text; a bare Debian has no pgrep."""
    found = []
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and text.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                found.append(int(name))
    return found


@contextmanager
def seated(url: str, **options: Any) -> Iterator[httpx.Client]:
    """A client that has a seat of its own, given by the server as to a browser."""
    with httpx.Client(base_url=url, timeout=30, **options) as client:
        assert client.get("/").status_code == 200
        yield client


def seat_of(cookies: httpx.Cookies) -> str:
    """The seat that a signed cookie is for."""
    return cookies[cookie_name(cookies)].partition(".")[0]


def cookie_name(cookies: httpx.Cookies) -> str:
    """The name of the seat's cookie, which carries a fingerprint of the server's key."""
    [name] = [name for name in cookies if re.fullmatch(r"(__Host-|__Secure-)?seat-[0-9a-f]{8}", name)]
    return name


def disagreement(server: str) -> tuple[str, str]:
    """Return a lesson and a command to which the compilers here give different answers to the lesson's own files.

    The compiler of the post's time words its errors differently. Without it any two compilers still differ in what
    they say of themselves. Skips where only one compiler is here.
    """
    names = httpx.get(f"{server}/api/lessons/panic-handler").json()["toolchains"]
    if len(names) < 2:
        pytest.skip("only one compiler is here; playground setup --era brings another on Debian 12")
    return ("panic-handler", "cargo build") if "1.63" in names else ("target-triple", "rustc --version --verbose")


class Server:
    """A real ``playground serve`` process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal the server and wait for its end; its exit code."""
        self.process.send_signal(how)
        return self.process.wait(timeout=10)


def a_normal_user() -> int:
    """The id of a user that has nothing on this machine, for a server that is not root; skips where root is needed."""
    if os.getuid() != 0:
        pytest.skip("only root can start a server as another user")
    return 50_000 + os.getpid() % 10_000


_AS_USER = """set -e
if [ -n "$closed" ]; then
    kept=$(mktemp -d)
    for name in $names; do
        eval "folder=\\$$name"
        mkdir "$kept/$name"
        mount --bind "$folder" "$kept/$name"
    done
    mount -t tmpfs -o mode=711 none "$closed"
    for name in $names; do
        eval "folder=\\$$name"
        mkdir -p "$folder"
        mount --bind "$kept/$name" "$folder"
        umount "$kept/$name"
        rmdir "$kept/$name"
    done
    rmdir "$kept"
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"""
"""Python and the checkout may lie in root's home: in mounts of the server's own the way to them is open, and nothing
else of that home."""
_CHECKOUT = Path(__file__).resolve().parent.parent


def _as_user(user: int) -> tuple[list[str], dict[str, str]]:
    needed = {"python": Path(sys.base_prefix).resolve(), "checkout": _CHECKOUT}
    closed = {name: _closed_above(folder) for name, folder in needed.items()}
    tops = {str(above) for above in closed.values() if above}
    assert len(tops) <= 1, f"{tops} are closed; only one such folder can be opened here"
    names = " ".join(name for name, above in closed.items() if above)
    words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _AS_USER, "sh"]
    given = {"user": str(user), "names": names, "closed": "".join(tops)}
    return words, given | {name: str(folder) for name, folder in needed.items()}


def _closed_above(folder: Path) -> Path | None:
    """The topmost folder on the way to this one that others cannot pass."""
    return next((above for above in reversed(folder.parents) if not above.stat().st_mode & 0o001), None)


@contextmanager
def serving(data_dir: Path, user: int | None = None, /, **variables: str) -> Iterator[Server]:
    """A server on a free port, with these further environment variables; killed at the end.

    With ``user`` it is that user's, which must own the folder above ``data_dir``.
    """
    scratch = data_dir.with_name("scratch")
    folders = {"PLAYGROUND_DATA_DIR": str(data_dir), "PLAYGROUND_SCRATCH_DIR": str(scratch)}
    env = os.environ | folders | variables
    # pytest closes its folders; the users that runs get when root runs the tests must pass.
    for folder in (scratch.parent, *scratch.parent.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)
    command = [str(Path(sys.executable).with_name("playground")), "serve", "--port", "0"]
    if user is not None:
        words, given = _as_user(user)
        command, env = [*words, *command], env | given
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+[^/\s]", line)
        assert found, f"the server did not say its address but {line!r}"
        yield Server(process, found[0].rstrip("/"))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, lessons: dict[str, Lesson]) -> Iterator[str]:
    """The address of a real server that the whole session shares; each test is a seat of its own.

    Its page of compilers shows what is recorded beside the lessons.
    """
    data = tmp_path_factory.mktemp("server")
    keep_report(data, CourseReport(datetime.now(UTC), tuple(recorded_proofs(lessons))))
    # On a busy machine a page takes seconds, and a run that it watches must not end by itself meanwhile.
    with serving(data, PLAYGROUND_RUN_SECONDS="120") as running:
        yield running.url


def recorded_proofs(lessons: dict[str, Lesson]) -> Iterator[Proof]:
    """Yield what a check of the lessons would have proven when their recordings were made."""
    for lesson in lessons.values():
        for run in lesson.recordings:
            classes = [event.error_class for event in run.events if isinstance(event, Diagnostic) and event.error_class]
            what = run.what
            yield Proof(lesson.slug, what.generation, what.files, what.command, classes=tuple(dict.fromkeys(classes)))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server of the test's own; ``data_dir`` makes two of them follow each other."""
    with ExitStack() as stack:
        yield lambda data_dir=tmp_path / "data", **variables: stack.enter_context(serving(data_dir, **variables))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skip is a failure: whatever is needed there is installed there."""
    if os.environ.get("CI") and _skipped:
        print(f"\nSkipped in CI, which is not allowed: {', '.join(_skipped)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
