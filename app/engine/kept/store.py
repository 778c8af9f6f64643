"""The files of kept answers: a folder for each, below a folder for this version of the product.

Files, because an artifact is then given to a run by a hard link instead of being read and written. No maintained
library keeps files: diskcache has had no release since 2023 and an open CVE (2025-69872) about its pickles.
"""

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from app import __version__
from app.protocol.events import Event, Verdict, from_json, to_json
from app.run.runner import Built

MOST_BYTES = 64 * 1024 * 1024
MOST_ANSWERS = 2000
"""Every option of a command makes another answer, and each new answer reads the sizes of all."""
_SHARE = 4
"""An answer takes at most this part of the room, so that one cannot evict all others."""
_DRAFT_SECONDS = 60.0
"""Seconds after which an answer that is still being written was left by a killed process."""
_EVENTS = "events"
_PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """The outcome of a run: its events from ``started`` to the verdict, what it built, and when it ended."""

    events: tuple[Event, ...]
    built: Built | None
    at: float


@dataclass(frozen=True)
class _About:
    """The first line of an answer's file: when the run ended, the artifact's path in the crate, and its files."""

    at: float
    path: str
    files: list[str]


class AnswerStore:
    """Answers by key, of which the least recently used are evicted. Methods work on files and raise ``OSError``.

    Several processes may share a store. ``stamp`` is the version of the product; opening a store removes the answers of
    others.
    """

    def __init__(self, base: Path, stamp: str, most_bytes: int = MOST_BYTES) -> None:
        self._base = base
        self._folder = base / stamp
        self._most = most_bytes
        self._near: dict[str, tuple[float, Built]] = {}
        """The end of the run of each answer, and the files that this process last gave to a run.

        Runs may lie on another file system than answers, such as in memory. Linking to these files saves a copy.
        """

    def open(self) -> None:
        """Make the folder, and remove the answers of other versions."""
        self._base.mkdir(parents=True, exist_ok=True, mode=0o700)
        for other in self._base.iterdir():
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)
        self._folder.mkdir(exist_ok=True, mode=0o700)

    def __contains__(self, key: str) -> bool:
        return (self._folder / key).is_dir()

    def get(self, key: str, kept: Path | None = None) -> Answer | None:
        """Return an answer, or None. What it built is put into the new folder ``kept``, unless that is None."""
        folder = self._folder / key
        try:
            head, *lines = (folder / _EVENTS).read_bytes().splitlines()
            about = _About(**json.loads(head))
            events = _parsed(lines)
            built = self._given(key, about, kept) if kept and about.files else None
            os.utime(folder / _EVENTS)
        except OSError as error:
            if kept:
                shutil.rmtree(kept, ignore_errors=True)
            if isinstance(error, FileNotFoundError):
                self.drop(key)  # another process has evicted it, perhaps only in part before it was killed
                return None
            raise
        except (TypeError, ValueError):
            self.drop(key)
            return None
        return Answer(events, built, about.at)

    def put(self, key: str, events: Sequence[Event], built: Built | None) -> None:
        """Keep an answer, unless it is large; evict others to make room. An existing answer stays."""
        files = [built.file, *built.companions] if built else []
        about = _About(time.time(), built.path if built else "", [file.name for file in files])
        text = "".join(f"{line}\n" for line in (json.dumps(asdict(about)), *map(to_json, events)))
        size = len(text.encode()) + (built.bytes if built else 0)
        if size > self._most / _SHARE:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_room(size)
        draft = self._folder / f".{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            for file in files:
                _place(file, draft / file.name)
            (draft / _EVENTS).write_text(text, encoding="utf-8")
            with suppress(OSError):  # another process was faster, and its answer is as good
                draft.rename(self._folder / key)
                if built:
                    self._note_near(key, about, built)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def drop(self, key: str) -> None:
        """Remove an answer."""
        shutil.rmtree(self._folder / key, ignore_errors=True)

    def _given(self, key: str, about: _About, kept: Path) -> Built:
        """Put what an answer built into the new folder ``kept``."""
        kept.mkdir(mode=0o700)
        at, near = self._near.get(key, (None, None))
        built = None
        if near and at == about.at:
            with suppress(OSError):  # that run was dropped
                built = _linked(near, kept)
        built = built or _copied(self._folder / key, about, kept)
        self._note_near(key, about, built)
        return built

    def _note_near(self, key: str, about: _About, built: Built) -> None:
        if len(self._near) >= MOST_ANSWERS:
            self._near.clear()
        self._near[key] = about.at, built

    def _make_room(self, size: int) -> None:
        """Remove the least recently used answers until one of ``size`` bytes fits."""
        known = sorted(self._sizes())
        used, left = sum(each for _, each, _ in known), len(known)
        for _, each, folder in known:
            if used + size <= self._most and left < MOST_ANSWERS:
                return
            shutil.rmtree(folder, ignore_errors=True)
            used, left = used - each, left - 1

    def _sizes(self) -> Iterator[tuple[float, int, Path]]:
        """Yield each answer's last use, size and folder; a draft that a killed process left counts as never used."""
        for folder in self._folder.iterdir():
            with suppress(FileNotFoundError):
                is_draft = folder.name.startswith(".")
                if is_draft and time.time() - folder.stat().st_mtime < _DRAFT_SECONDS:
                    continue
                stats = {one.name: one.stat() for one in folder.iterdir()}
                used = stats[_EVENTS].st_mtime if not is_draft and _EVENTS in stats else 0.0
                yield used, sum(one.st_size for one in stats.values()), folder


def _parsed(lines: Sequence[bytes]) -> tuple[Event, ...]:
    """Return the events of an answer. Raises ``ValueError``, also if the end is missing, as after a power cut."""
    events = tuple(map(from_json, lines))
    if not events or not isinstance(events[-1], Verdict):
        raise ValueError("the last event is not the verdict")
    return events


def product_stamp() -> str:
    """Return a digest of the product's version and its files, which change in a checkout without a new version."""
    found = hashlib.sha256(__version__.encode())
    for path in sorted((*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.rs"))):
        status = path.stat()
        found.update(f"{path.relative_to(_PACKAGE)}:{status.st_size}:{status.st_mtime_ns}\n".encode())
    return found.hexdigest()[:16]


def _linked(near: Built, kept: Path) -> Built:
    """Return links in the folder ``kept`` to files that another run has. Raises ``OSError``."""
    files = []
    for file in (near.file, *near.companions):
        files.append(kept / file.name)
        os.link(file, files[-1])
    return replace(near, file=files[0], companions=tuple(files[1:]))


def _copied(folder: Path, about: _About, kept: Path) -> Built:
    for name in about.files:
        (kept / name).unlink(missing_ok=True)
        _place(folder / name, kept / name)
    files = [kept / name for name in about.files]
    return Built(files[0], about.path, tuple(files[1:]), sum(file.stat().st_size for file in files))


def _place(source: Path, target: Path) -> None:
    """Link a file, which nobody changes, or copy it where that is impossible, such as between file systems."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
