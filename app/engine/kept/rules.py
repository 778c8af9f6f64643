"""The rules of kept answers: which runs may have one, under which key, and when two answers agree. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from app.course import Lesson
from app.course.recordings import comparable
from app.protocol.command import Command
from app.protocol.events import UNREAD, Artifact, Event, Finished, Queued, Started, Verdict, to_json
from app.protocol.job import JobSpec
from app.toolchain import Toolchain

_COMPILES = ("build", "check", "clippy", "rustc")
"""Cargo's commands that start nothing but compilers and linkers."""
_GENERATED = re.compile(r"""^\s*["']?(build|proc[-_]macro)["']?\s*[=.]""", re.MULTILINE)
_FAULTS = (
    *("signal: ", "terminated with signal", "(os error ", "No space left on device", "Cannot allocate memory"),
    *("Resource temporarily unavailable", "Too many open files", "Input/output error", "memory exhausted"),
)
"""Words of cargo, rustc and linkers that the machine has failed: a killed process, a full disk, a missing program."""
_IRRELEVANT = {"run_id", "owner", "queue_owner", "attended", "priority", "again"}
"""The fields of a job on which its answer does not depend. Every other field is part of the key."""


def is_public(job: JobSpec, lesson: Lesson) -> bool:
    """Return True if the run's input is the lesson's start or its solution, so that nothing of a learner's is kept.

    An earlier run's artifact is a learner's, and may be a file of any name and content, such as a build script.
    """
    return job.after is None and dict(job.files) in (dict(lesson.files), dict(lesson.solution))


def only_compiles(command: Command, files: Mapping[str, str]) -> bool:
    """Return True if the command starts no program that the crate brings or builds."""
    scripts = any(path.rpartition("/")[2] == "build.rs" for path in files)
    generated = _GENERATED.search(files.get("Cargo.toml", ""))
    return command.kind == "cargo" and command.subcommand in _COMPILES and not scripts and not generated


def key_of(job: JobSpec, toolchain: Toolchain, machine: object) -> str:
    """Return the key of a run's answer: a digest of everything that the answer depends on.

    ``machine`` is what the answer depends on besides: settings, isolation, installed programs.
    """
    compiler = [
        *(toolchain.name, toolchain.version, toolchain.commit, toolchain.cargo_version, toolchain.host),
        *map(str, (toolchain.cargo, toolchain.rustc, toolchain.sysroot)),
        sorted(toolchain.targets.items()),
        sorted(toolchain.env.items()),
    ]
    run = job.model_dump(mode="json", exclude=_IRRELEVANT)
    return hashlib.sha256(json.dumps([run, compiler, machine], default=str, sort_keys=True).encode()).hexdigest()


def lasting(log: Sequence[Event], scratch: str) -> tuple[Event, ...] | None:
    """Return the events of an answer that may be kept: those after the queue, up to the verdict. Else return None.

    The compiler must have ended by itself, its artifact must have been read and the run judged, and no text may contain
    a path below the folder ``scratch``. Nor may the run have said something before it started, because that was about
    its own wait for a target.
    """
    events = tuple(event for event in log if not isinstance(event, Queued))
    if not events or not isinstance(events[0], Started) or not isinstance(verdict := events[-1], Verdict):
        return None
    end = next((event for event in events if isinstance(event, Finished)), None)
    if end is None:
        return None
    ended = end.status in ("ok", "failed") and end.exit_code is not None and end.limit is None and end.reason is None
    # A reader that was too busy, or was killed, leaves an unread artifact; a run that was not judged has no checks.
    whole = verdict.checks and all(event.format != UNREAD for event in events if isinstance(event, Artifact))
    text = "".join(map(to_json, events))
    if not ended or not whole or scratch in text or any(fault in text for fault in _FAULTS):
        return None
    return (*events[:-1], verdict.model_copy(update={"stored": True}))


def agree(one: Sequence[Event], other: Sequence[Event]) -> bool:
    """Return True if two answers say the same, apart from times, folders, addresses and digests."""
    return _seen(one) == _seen(other)


def _seen(events: Sequence[Event]) -> tuple[object, ...]:
    artifacts = [
        event.model_copy(update={"id": 0, "sha256": "", "entry": None})
        for event in events
        if isinstance(event, Artifact)
    ]
    verdicts = [(event.reached, event.checks) for event in events if isinstance(event, Verdict)]
    return comparable(events), artifacts, verdicts
