"""Submit jobs of one lesson to an engine and collect their events."""

from app.course.lesson import Lesson
from app.engine.local import LocalEngine
from app.protocol.command import parse
from app.protocol.events import Event, Finished, Output
from app.toolchain import Toolchain
from tests.support.jobs import job as job_of


class Bench:
    """Submits jobs of one lesson to an engine and collects their events."""

    def __init__(self, engine: LocalEngine, lesson: Lesson, toolchain: Toolchain) -> None:
        self.engine = engine
        self._lesson = lesson
        self._toolchain = toolchain

    async def submit(
        self, command: str, *, source: str | None = None, manifest: str | None = None, **more: object
    ) -> str:
        files = dict(self._lesson.files)
        files |= {"src/main.rs": source} if source is not None else {}
        files |= {"Cargo.toml": manifest} if manifest is not None else {}
        return await self.engine.submit(job_of(self._lesson, files, parse(command), self._toolchain, **more))

    async def follow(self, run_id: str) -> list[Event]:
        return [event async for event in self.engine.events(run_id)]

    async def run(self, command: str, **more: object) -> list[Event]:
        return await self.follow(await self.submit(command, **more))  # type: ignore[arg-type]  # options of several types

    async def until(self, run_id: str, text: str) -> str:
        """Return the run's output up to and including ``text``."""
        printed = ""
        async for event in self.engine.events(run_id):
            printed += event.text if isinstance(event, Output) else ""
            if text in printed:
                return printed
        raise AssertionError(f"{text!r} was never printed, but {printed!r}")


def only(kind: type[Event], events: list[Event]) -> Event:
    [found] = [event for event in events if isinstance(event, kind)]
    return found


def printed(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Output))


def status(events: list[Event]) -> str:
    finished = only(Finished, events)
    assert isinstance(finished, Finished)
    return finished.status
