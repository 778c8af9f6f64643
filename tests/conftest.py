"""Shared fixtures: the real toolchains of this machine, a real engine and server."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from app.course import Course, Lesson, load_shelf
from app.course.diagnosis import Diagnosis
from app.course.prove import CourseReport, keep_report
from app.engine.inventory import LocalSetup, find_setup
from app.engine.local import LocalEngine
from app.settings import Settings
from app.toolchain import Toolchain, preferred
from tests.support.bench import Bench
from tests.support.courses import recorded_proofs
from tests.support.environment import BARE_METAL, EVERYTHING
from tests.support.server import SERVE, Server, serving

pytest_plugins = ["tests.support.parallel"]
collect_ignore = [] if EVERYTHING else ["test_nats_targets.py"]

# Tests share the cache folder. An answer that one of them left there would hide what a change breaks.
os.environ["PLAYGROUND_KEEP_ANSWERS"] = "0"
# Importing the libraries for artifacts costs each of the hundreds of engines here half a second for each reader.
os.environ["PLAYGROUND_ARTIFACT_READERS"] = "1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shipped() -> Settings:
    """The settings of this machine, with its lessons and its cache."""
    return Settings()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that the users of runs can enter; as root, pytest closes ``tmp_path`` to others."""
    with tempfile.TemporaryDirectory(prefix="playground-test-") as folder:
        os.chmod(folder, 0o711)
        yield Path(folder).resolve()


@pytest.fixture
def settings(tmp_path: Path, open_folder: Path, shipped: Settings) -> Settings:
    """Settings with separate folders for data and runs; the cache of built targets is shared."""
    return shipped.model_copy(update={"data_dir": tmp_path / "data", "scratch_dir": open_folder / "scratch"})


@pytest.fixture(scope="session")
def two_courses(tmp_path_factory: pytest.TempPathFactory, shipped: Settings) -> Path:
    """A folder with the shipped course and a tiny one, which sorts after it."""
    folder = tmp_path_factory.mktemp("courses")
    for course in (*shipped.lessons_dir.iterdir(), Path(__file__).parent / "courses" / "tiny"):
        (folder / course.name).symlink_to(course)
    return folder


@pytest.fixture(scope="session")
def taught(shipped: Settings) -> Course:
    """The shipped course."""
    return load_shelf(shipped.lessons_dir).default


@pytest.fixture(scope="session")
def lessons(taught: Course) -> dict[str, Lesson]:
    return {lesson.slug: lesson for lesson in taught.lessons}


@pytest.fixture(scope="session")
def diagnosis(taught: Course) -> Diagnosis:
    return taught.diagnosis


@pytest.fixture(scope="session")
def found(shipped: Settings) -> LocalSetup:
    """The isolation and the toolchains of this machine, which take a tenth of a second of processor time to find."""
    return anyio.run(find_setup, shipped)


@pytest.fixture(scope="session")
def toolchains(found: LocalSetup) -> tuple[Toolchain, ...]:
    assert found.toolchains, "no toolchain: run make setup"
    return found.toolchains


@pytest.fixture(scope="session")
def toolchain(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    """The toolchain that a run gets by default."""
    chosen = preferred(toolchains, None)
    assert chosen
    return chosen


@pytest.fixture(scope="session")
def bare_metal(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    """A toolchain that builds for the bare-metal target."""
    able = [toolchain for toolchain in toolchains if toolchain.can_build(BARE_METAL)]
    if not able:
        pytest.skip(f"no toolchain here has {BARE_METAL}; make setup says what to install")
    return able[0]


@pytest.fixture
async def engine(settings: Settings, taught: Course, found: LocalSetup) -> AsyncIterator[LocalEngine]:
    """A real engine with the shipped course."""
    async with LocalEngine(settings, (taught,), found=found) as engine:
        yield engine


@pytest.fixture
def bench(engine: LocalEngine, lessons: dict[str, Lesson], toolchain: Toolchain) -> Bench:
    """Submits jobs of the first lesson to the engine."""
    return Bench(engine, lessons["hello-std"], toolchain)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, lessons: dict[str, Lesson]) -> Iterator[str]:
    """The URL of a real server for the whole session; each test uses a new seat.

    Its page of compilers shows the recordings of the lessons.
    """
    data = tmp_path_factory.mktemp("server")
    keep_report(data, CourseReport(datetime.now(UTC), tuple(recorded_proofs(lessons))))
    # On a busy machine a page takes seconds; the run that it shows must not time out meanwhile.
    with serving(data, None, SERVE, False, PLAYGROUND_RUN_SECONDS="120") as running:
        yield running.url


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start a server for one test; pass ``data_dir`` to start a second one on the same data."""
    with ExitStack() as stack:
        yield lambda data_dir=tmp_path / "data", **variables: stack.enter_context(serving(data_dir, **variables))
