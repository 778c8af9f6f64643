"""The files of a run while a hostile process changes them between any two of our system calls."""

import ast
import errno
import os
import random
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from app.run.workspace import Workspace
from app.runfiles import HiddenError, RunFolder, beneath, in_thread, look, removal, removed
from tests.support.environment import takes_less_than
from tests.support.files import descriptors, interrupted

CRATE = "blog_os"

_SECRET = b"hush"
_APP = Path(__file__).parents[1] / "app"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory, because the schedules create and remove many files."""
    with TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as made:
        yield Path(made).resolve()


@pytest.fixture(params=["openat2", "step by step"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way of resolving paths: by openat2, or step by step."""
    if request.param == "openat2":
        if not beneath.HAS_OPENAT2:
            pytest.skip("this kernel has no openat2")
    else:
        monkeypatch.setattr(beneath, "HAS_OPENAT2", False)
    return str(request.param)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder(tmp_path / "run").make() as made:
        yield made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with files that no run may read or change."""
    return furnished(tmp_path / "outside")


def furnished(top: Path) -> Path:
    (top / "folder/deep").mkdir(parents=True)
    for name in ("secret", "folder/blog_os", "folder/deep/blog_os-1.o", "folder/machine.json"):
        (top / name).write_bytes(_SECRET)
    (top / "secret").chmod(0o600)
    return top


def seen(top: Path) -> dict[str, tuple[object, ...]]:
    """Return the metadata and contents of a tree, without link counts, which a run may change."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_ino, status.st_uid, status.st_gid, content)
    return found


def open_below(top: Path) -> list[str]:
    """Return the files below a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(f"{top}/")]


class Hostile:
    """Acts as a hostile process of the run's user in its own folder, at random moments."""

    def __init__(self, root: Path, outside: Path, chance: random.Random) -> None:
        self._root, self._outside, self._chance = root, outside, chance
        # There are about 300 steps to interrupt, most of them in the removal at the end.
        self._moments = set(chance.sample(range(chance.choice([60, 120, 300])), 4))
        self._steps = count()

    def act(self) -> None:
        """Change something at the chosen moments."""
        if next(self._steps) in self._moments:
            for _ in range(self._chance.choice([1, 1, 2, 5])):
                with suppress(OSError):
                    self._change(self._any(), self._any())

    def _any(self) -> Path:
        found = [Path(top, name) for top, folders, files in os.walk(self._root) for name in (*folders, *files)]
        likely = [one for one in found if one.name in (CRATE, "target", "debug", "deps", "blog_os", "home", "src")]
        return self._chance.choice(likely or found or [self._root / "x"])

    def _change(self, path: Path, other: Path) -> None:
        aside = self._root / f"aside-{self._chance.random()}"
        if self._chance.random() < 0.7 and os.path.lexists(path):
            path.rename(aside)
        acts: list[Callable[[], object]] = [
            lambda: path.symlink_to(self._outside / "folder"),
            lambda: path.symlink_to(self._outside),
            lambda: path.symlink_to(self._chance.choice(["/", "..", "../..", ".", f"{self._outside}/secret"])),
            lambda: os.link(self._outside / "secret", path),
            lambda: os.link(self._outside / "secret", path),
            lambda: os.mkfifo(path),
            lambda: os.makedirs(path, mode=0),
            lambda: aside.rename(path),
            lambda: other.rename(path),
            lambda: os.link(other, path),
            path.unlink,
        ]
        self._chance.choice(acts)()


def lay(run: RunFolder) -> None:
    deps = run.path / CRATE / "target/debug/deps"
    deps.mkdir(parents=True)
    (deps / "blog_os-1").write_bytes(b"mine")
    os.link(deps / "blog_os-1", deps.parent / "blog_os")
    for number in range(3):
        (deps / f"blog_os-{number}.o").write_bytes(b"mine")
    (run.path / CRATE / "src").mkdir()
    (run.path / CRATE / "src/main.rs").write_bytes(b"mine")
    (run.path / "home").mkdir()
    (run.path / "home/machine.json").write_bytes(b"mine")


def everything(run: RunFolder, kept: Path) -> list[bytes | None]:
    """Do everything that the server does with a run's folder, and return the bytes it hands out."""
    given = [run.read("home/machine.json", 100)]
    Workspace(run, CRATE).keep("target/debug/blog_os", kept)
    Workspace(run, CRATE).keep_beside("target/debug/blog_os", "Mach-O", kept)
    given += [text.encode() for _, text in Workspace(run, CRATE).new_files()]
    with suppress(HiddenError):
        assert all(one.entry.name for one in run.walk())
    run.size_of(f"{CRATE}/target/debug/blog_os")
    return given


@pytest.mark.parametrize("seed", range(10))
def test_swaps_at_any_moment_leak_and_change_nothing_outside(
    tmp_path: Path, outside: Path, way: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(f"{seed} {way}")
    before = seen(outside)
    taken = 0
    for number in range(100):
        run = RunFolder(tmp_path / str(number)).make()
        lay(run)
        kept = tmp_path / f"kept-{number}"
        hostile = Hostile(run.path, outside, chance)
        with monkeypatch.context() as patched:
            interrupted(patched, hostile.act)
            given = everything(run, kept)
            removal.remove(run.path)
        assert not [one for one in given if one and _SECRET in one]
        for path in kept.glob("*"):
            status = path.lstat()
            assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o400, 1)
            assert path.read_bytes() == b"mine"
            taken += 1
        run.close()
        assert removal.remove(run.path) or removal.remove_apart(run.path)
        assert not run.path.exists()
    assert seen(outside) == before
    assert not open_below(tmp_path)
    assert taken, "the hostile process left nothing to take, so that nothing was proved"


@pytest.mark.parametrize("error", ["EMFILE", "ENOSPC", "EACCES", "EIO"])
def test_whichever_call_fails_only_a_fault_of_the_machine_is_raised(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    number = getattr(errno, error)
    before = seen(outside)
    at = 0
    while True:
        at += 3
        steps = count()

        def fail(at: int = at, steps: Iterator[int] = steps) -> None:
            if next(steps) == at:
                raise OSError(number, os.strerror(number))

        run = RunFolder(tmp_path / f"{at}").make()
        lay(run)
        with monkeypatch.context() as patched:
            interrupted(patched, fail, but=("close",))
            with suppress(OSError):
                everything(run, tmp_path / f"kept-{at}")
            removal.remove(run.path)
        run.close()
        assert removal.remove(run.path)
        if next(steps) < at:
            break
    assert at > 60
    assert seen(outside) == before
    assert not open_below(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "..", "a/../b", "a//b", "./a", "a/.", "a\0b", "\ud800", "d/" * 64 + "x", "x" * 4096, "a/", "/"],
)
def test_a_path_that_is_not_below_the_folder_is_refused(run: RunFolder, tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"."):
        beneath.parts_of(path)
    assert run.read(path, 10) is None
    assert run.size_of(path) is None
    assert run.take(path, tmp_path / "kept/x", 10) is None


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["a\nb", "x" * 255, "ü", "\udcff", " ", "-rf", "*", "\x1b[2J"])
def test_any_name_that_a_file_can_have_is_taken_and_removed(run: RunFolder, tmp_path: Path, name: str) -> None:
    run.write(f"{name}/{name}", b"mine")
    assert run.read(f"{name}/{name}", 10) == b"mine"
    assert run.take(f"{name}/{name}", tmp_path / "kept/x", 10) == 4
    assert removal.remove(run.path)
    assert not run.path.exists()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("what", ["link", "hard link", "pipe", "socket", "device", "giant", "theirs", "linked folder"])
def test_only_plain_files_of_the_runs_own_are_read_and_taken(
    run: RunFolder, outside: Path, tmp_path: Path, what: str
) -> None:
    path, there = "a/b/file", run.path / "a/b/file"
    there.parent.mkdir(parents=True)
    match what:
        case "link":
            there.symlink_to(outside / "secret")
        case "hard link":
            os.link(outside / "secret", there)
        case "pipe":
            os.mkfifo(there)
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(str(there))
        case "device":
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(there, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        case "giant":
            there.touch()
            os.truncate(there, 10 << 30)
        case "theirs":
            there.touch()
            run.owner += 1
        case "linked folder":
            there.parent.rmdir()
            (outside / "file").write_bytes(_SECRET)
            there.parent.symlink_to(outside)
    with takes_less_than(0.5):
        assert run.read(path, 1 << 20) is None
        assert run.take(path, tmp_path / "kept/x", 1 << 20) is None
        assert run.size_of(path) is None or what in ("giant", "hard link")
    assert not list((tmp_path / "kept").glob("*"))
    assert (outside / "secret").read_bytes() == _SECRET


def test_a_file_is_taken_with_all_its_names_in_the_folder_or_not_at_all(run: RunFolder, tmp_path: Path) -> None:
    run.write("a/file", b"mine")
    os.mkdir(run.path / "b")
    os.link(run.path / "a/file", run.path / "b/other")
    os.link(run.path / "a/file", tmp_path / "outside")
    assert run.take("a/file", tmp_path / "kept/x", 10) is None
    os.unlink(tmp_path / "outside")
    assert run.take("a/file", tmp_path / "kept/x", 10) == 4
    assert os.listdir(tmp_path / "kept") == ["x"]
    assert (tmp_path / "kept/x").stat().st_nlink == 1


@pytest.mark.usefixtures("way")
def test_what_lies_too_deep_or_is_closed_for_good_is_hidden(run: RunFolder) -> None:
    assert not list(run.walk())
    os.makedirs(run.path / Path(*"d" * beneath.DEEPEST))
    assert len(list(run.walk())) == beneath.DEEPEST
    os.mkdir(run.path / Path(*"d" * beneath.DEEPEST) / "e")
    with pytest.raises(HiddenError):
        list(run.walk())


AS_A_USER = """if True:
    import os, sys
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    from app.runfiles import RunFolder, beneath, removal
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    top = Path(sys.argv[1])
    # The one that runs this may lie below root's home.
    sys.executable = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    for way in {beneath.HAS_OPENAT2, False}:
        beneath.HAS_OPENAT2 = way
        run = RunFolder(top / "run").make()
        (run.path / "a/b/c").mkdir(parents=True)
        (run.path / "a/b/c/file").write_text("x")
        for name in ("a/b/c", "a/b", "a", "."):
            (run.path / name).chmod(0)
        assert [one.path for one in run.walk()] == ["a", "a/b", "a/b/c", "a/b/c/file"]
        for mode in (0, 0o100, 0o200, 0o400, 0o500, 0o300):
            for name in ("a/b/c", "a/b", "a", "."):
                (run.path / name).chmod(0o700)
            (run.path / "a/b/c").chmod(mode)
        for name in ("a/b", "a", "."):
            (run.path / name).chmod(0)
        run.close()
        assert removal.remove(run.path, 2) is False
        assert removal.remove_apart(run.path), os.listdir(run.path)
        # Exchanged for a link between the refused listing and the opening.
        run = RunFolder(top / "run").make()
        (run.path / "closed").mkdir()
        (run.path / "closed").chmod(0)
        really = beneath.os.open
        class Swapping:
            def __getattr__(self, name): return getattr(os, name)
            def open(self, path, flags, *rest, **more):
                try:
                    return really(path, flags, *rest, **more)
                except PermissionError:
                    (run.path / "closed").rename(run.path / "away")
                    (run.path / "closed").symlink_to(top / "outside")
                    raise
        opened = beneath._openat2
        def swapping(*args):
            try:
                return opened(*args)
            except PermissionError:
                (run.path / "closed").rename(run.path / "away")
                (run.path / "closed").symlink_to(top / "outside")
                raise
        beneath.os, beneath._openat2 = Swapping(), swapping
        assert [one.path for one in run.walk()]
        beneath.os, beneath._openat2 = os, opened
        assert (top / "outside").stat().st_mode & 0o777 == 0o755
        run.close()
        assert removal.remove(run.path)
        assert (top / "outside").stat().st_mode & 0o777 == 0o755
    print("held")
"""


def test_a_normal_user_opens_and_removes_what_is_closed_and_nothing_else(open_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    (open_folder / "outside").mkdir(mode=0o755)
    for path in (open_folder, open_folder / "outside"):
        os.chown(path, 65534, 65534)
    words = [sys.executable, "-I", "-B", "-c", AS_A_USER, str(open_folder), str(_APP.parent), *sys.path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "held\n", done.stderr


def test_a_deep_tree_needs_few_descriptors_and_a_large_one_a_second_process(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = os.open(run.path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 50, dir_fd=handle)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    os.close(handle)
    highest = 0

    def count() -> None:
        nonlocal highest
        highest = max(highest, descriptors())

    before = descriptors()
    with monkeypatch.context() as patched:
        interrupted(patched, count)
        assert not removal.remove(run.path, 100)
    assert highest - before <= 5
    assert removal.remove_apart(run.path)
    assert not run.path.exists()


def test_removing_a_missing_folder_succeeds_and_leaves_its_parent_unchanged(tmp_path: Path) -> None:
    (tmp_path / "above").mkdir(mode=0o711)
    (tmp_path / "above").chmod(0o711)
    for gone in (removal.remove, removal.remove_apart):
        assert gone(tmp_path / "above/run")
        assert (tmp_path / "above").stat().st_mode & 0o777 == 0o711
    (tmp_path / "above/link").symlink_to(tmp_path)
    assert removal.remove(tmp_path / "above/link") is True
    assert tmp_path.exists()


@pytest.mark.anyio
async def test_a_full_thread_pool_delays_no_look_and_no_removal(tmp_path: Path) -> None:
    pool = anyio.to_thread.current_default_thread_limiter()
    before = pool.total_tokens
    released = anyio.Event()
    pool.total_tokens = 1
    try:
        async with anyio.create_task_group() as tasks:

            async def hold() -> None:
                async with pool:
                    await released.wait()

            tasks.start_soon(hold)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(10):
                assert await look(lambda: 1) == 1
                assert await in_thread(lambda: 2) == 2
                assert await removed(tmp_path / "gone")
            released.set()
    finally:
        pool.total_tokens = before


_FILE_METHODS = frozenset(
    "chmod exists glob hardlink_to is_dir is_file is_symlink iterdir lchmod lstat mkdir open read_bytes read_text "
    "readlink rename resolve rglob rmdir samefile stat symlink_to touch unlink write_bytes write_text".split()
)
_RUNS = (
    "run/workspace.py", "run/runner.py", "run/machine/monitor.py",
    "sandbox/watch.py", "sandbox/__init__.py", "sandbox/box.py",
    "engine/worker.py", "engine/local.py", "engine/scratch.py", "engine/seeds.py", "engine/builds.py",
    "engine/steps.py", "engine/dispatcher.py", "engine/retention.py",
    "engine/hello_world.py", "engine/cards.py", "engine/log.py", "inspector/__init__.py", "stepper/__init__.py",
)  # fmt: skip
"""Modules that handle the folders of runs."""
_REASONS = {
    "run/runner.py": {"_argv": "a program by its name", "_digest": "taken out"},
    "engine/local.py": {"artifact": "taken out", "__aenter__": "the store of answers, in the cache"},
    "engine/log.py": {"artifact_id": "taken out"},
    "engine/retention.py": {"built": "taken out"},
    "engine/seeds.py": dict.fromkeys(("_key", "_read", "_write"), "compilers and the cache, which no run can write to"),
    "engine/scratch.py": dict.fromkeys(
        ("_begin", "ensure_private", "flaws", "_locked", "_is_locked_as_before", "_write"),
        "the server's own folders, which no run can write to",
    ),
    "sandbox/box.py": {"_bubblewrap": "the system's own links", "_open_to_all": "folders of toolchains"},
    "sandbox/__init__.py": {"_check": "before the run"},
    "sandbox/watch.py": dict.fromkeys(
        (
            "_content",
            "_living",
            "_yield_processors",
            "_yield_as_session",
            "descendants",
            "_socket_bytes",
            "_open_files",
            "_maps",
        ),
        "/proc",
    ),
    "inspector/__init__.py": {
        "card_of": "taken out",
        "_is_elf": "taken out",
        "answer": "taken out",
        "_open_question": "taken out, or text of ours",
    },
}
"""Functions that touch files directly, and why a run cannot change those."""


@pytest.mark.parametrize("name", _RUNS)
def test_files_of_runs_are_touched_by_one_module_only(name: str) -> None:
    found: dict[str, list[str]] = {}
    for function in ast.walk(ast.parse((_APP / name).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and _touches_files(node):
                    found.setdefault(function.name, []).append(ast.unparse(node))
                elif isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
                    found.setdefault(function.name, []).append("open")
    assert {function: calls for function, calls in found.items() if function not in _REASONS.get(name, {})} == {}
    assert set(_REASONS.get(name, {})) <= set(found), "a reason for what is not done any more"


def _touches_files(node: ast.Attribute) -> bool:
    owner = ast.unparse(node.value)
    if owner in ("os", "os.path", "shutil"):
        return node.attr in _FILE_METHODS | {"chown", "listdir", "remove", "scandir", "walk", "statvfs", "which"} or (
            owner != "os"
        )
    ours = ("folder", "self._folder", "self.folder", "workspace", "removal", "worker", "self", "runfiles")
    return node.attr in _FILE_METHODS and owner.split("(")[0] not in (
        *ours,
        "stack",
        "opened",
        "RunFolder",
        "found.entry",
    )
