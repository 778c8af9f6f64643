"""Sentences that the engine says to people, apart from those of the run itself (``app.run.words``)."""

from collections.abc import Sequence

FAULT = "The playground could not run this. Its operator finds the reason in the log."
NOT_PREPARED = "The playground could not prepare this run. Its operator finds the reason in the log."
EXPIRED = "What the earlier run built is not kept any more. Build it again."
ENGINE_LOST = "The engine that ran this is gone. Run it again."
COURSE_CHANGED = "The course has changed since this run was posted. Load the page again and run again."
ENGINE_ENDED = "the engine has ended; restart the playground"
RUNS_FAIL = "runs fail because of a fault of the machine; see the log"


def toolchain_gone(name: str) -> str:
    """Explain that a toolchain was removed after the run was posted."""
    return f"Rust {name} is not on this machine any more. Choose another toolchain."


def waits_for(targets: Sequence[str]) -> str:
    """Explain that a run waits until targets are set up."""
    return f"First, core for {' and '.join(targets)} is set up here. The run goes on by itself afterwards."
