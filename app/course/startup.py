"""The chain of programs and functions that run before the learner's code, as a run shows it.

A binary shows its own chain. A build that failed shows only which links are gone: the class of an error names them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from app.protocol.events import Artifact

Link = Literal["loader", "start-file", "c-runtime", "main", "rust-runtime"]
"""A link, from the system to the learner's code. Each link after ``loader`` is called by the one before it."""

LINKS: tuple[Link, ...] = get_args(Link)
_CALLED = LINKS[1:]
_C_RUNTIME = "__libc_start_main"
_OF_STD = {"malloc", "_Unwind_RaiseException"}


@dataclass(frozen=True)
class Startup:
    """The links that are left, with the size of the latest binary in bytes: None if there has been none yet.

    ``built``: these are the facts of that binary; otherwise the latest build failed.
    """

    links: tuple[Link, ...] = LINKS
    bytes: int | None = None
    built: bool = False

    def as_texts(self) -> dict[str, str]:
        """Return the texts from which ``from_texts`` restores this."""
        size = "" if self.bytes is None else str(self.bytes)
        return {"links": " ".join(self.links), "bytes": size, "built": "yes" if self.built else ""}


def from_texts(texts: Mapping[str, str]) -> Startup:
    """Restore what ``as_texts`` returned."""
    names = texts["links"].split()
    size = int(texts["bytes"]) if texts["bytes"] else None
    return Startup(tuple(link for link in LINKS if link in names), size, bool(texts["built"]))


def of_artifact(artifact: Artifact) -> Startup:
    """Return the chain of a binary.

    Names in the file show what was linked into it. A program with both the standard library and a ``main`` of its own,
    which Rust's runtime does not call, looks like one without the latter.
    """
    here: set[Link] = {"loader"} if artifact.interpreter else set()
    if _C_RUNTIME in artifact.runtime:
        here |= {"start-file", "c-runtime", "main"}
        if _OF_STD & set(artifact.runtime):
            here.add("rust-runtime")
    return Startup(tuple(link for link in LINKS if link in here), artifact.bytes, built=True)


def after_errors(before: Startup, gone: Iterable[Link]) -> Startup:
    """Return the chain after a build failed because these links are gone; ``before`` is the chain until then."""
    first = min((_CALLED.index(link) for link in gone if link in _CALLED), default=len(_CALLED))
    lost = {*gone, *_CALLED[first:]}
    return Startup(tuple(link for link in before.links if link not in lost), before.bytes)


def latest(notes: Mapping[str, Mapping[str, str]], keys: Sequence[str]) -> Startup | None:
    """Return what is noted, as texts, for the last of these lessons that has a note."""
    return next((from_texts(notes[key]) for key in reversed(keys) if key in notes), None)
