"""Reading an artefact: bounded in processor time, patient with a busy machine."""

import signal
import time
from pathlib import Path

import pytest

from app import inspector
from app.inspector import UNKNOWN, facts_of

pytestmark = pytest.mark.anyio


def endless(_path: str) -> object:
    """Stands for a file that keeps its reader busy for ever."""
    signal.setitimer(signal.ITIMER_PROF, 0.2)
    while True:
        pass


def slow_to_start(path: str) -> object:
    """Stands for a machine on which a worker gets the processor late."""
    time.sleep(inspector.SECONDS + 0.5)
    return inspector._inspect(path)


async def test_a_file_that_never_ends_is_given_up_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(inspector, "_inspect", endless)
        assert await facts_of(tmp_path) == UNKNOWN
    assert time.monotonic() - began < inspector._WAIT
    assert (await facts_of(Path("/bin/sh").resolve())).format == "ELF"


async def test_waiting_for_the_processor_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspector, "_inspect", slow_to_start)
    assert (await facts_of(Path("/bin/sh").resolve())).format == "ELF"


async def test_a_card_that_nobody_had_time_for_is_not_taken_for_a_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Path("/bin/sh").resolve()
    with monkeypatch.context() as patched:
        patched.setattr(inspector, "_WAIT", 0.0)
        with pytest.raises(TimeoutError):
            await inspector.card_of(shell)
        assert await facts_of(shell) == UNKNOWN
    assert (await inspector.card_of(shell)).facts.format == "ELF"
