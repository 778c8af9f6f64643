"""Say what ``playground serve`` would do here, without serving and without changing anything."""

import os
from collections.abc import Callable, Iterator

import anyio

from app.cli.server import ServeError, check_isolation, check_static, listen
from app.course import CourseError, load_shelf
from app.engine import EngineUnavailableError
from app.engine.scratch import flaws
from app.progress import UnusableDatabaseError, examine_database
from app.progress.folder import DATABASE, SEAT_KEY
from app.progress.seats import lost_half
from app.settings import Settings, warnings_about_unknown_names
from app.settings.hosts import implied_hosts, listens_everywhere
from app.toolchain import discover
from app.web.guard.seats import SeatKeyError, examine_key


def check(settings: Settings, say: Callable[[str], None]) -> bool:
    """Say one line for each part; return True if the server would start."""
    for sentence in (*warnings_about_unknown_names(), lost_half(settings.data_dir)):
        if sentence:
            say(f"note  {sentence}")
    good = True
    runs_here = settings.engine == "local"
    last = (_isolation, _toolchains) if runs_here else (_workers,)
    for part in (_courses, _database, _key, _folders, _address, *last):
        try:
            for line in part(settings):
                say(f"ok    {line}")
        except (ServeError, CourseError, UnusableDatabaseError, SeatKeyError, OSError) as error:
            say(f"FAIL  {error}")
            good = False
    say("The playground would start." if good else "The playground would not start.")
    return good


def _courses(settings: Settings) -> Iterator[str]:
    shelf = load_shelf(settings.lessons_dir, settings.course)
    yield f"courses: {', '.join(course.id for course in shelf.courses)}; {len(shelf.lessons)} lessons"
    for sentence in shelf.broken.values():
        yield f"a course that is left out: {sentence}"


def _database(settings: Settings) -> Iterator[str]:
    yield f"progress: {examine_database(settings.data_dir / DATABASE)}"


def _key(settings: Settings) -> Iterator[str]:
    path = settings.data_dir / SEAT_KEY
    examine_key(settings.data_dir)
    yield f"the seats' key: {path}" if path.exists() else f"the seats' key: {path} is made at the first start"


def _folders(settings: Settings) -> Iterator[str]:
    for folder, purpose in (
        (settings.data_dir, "data"),
        (settings.scratch_dir, "runs"),
        (settings.cache_dir, "targets"),
    ):
        there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
        if not writable and purpose != "targets":
            raise ServeError(f"{there} is not a folder that can be written, which {purpose} need.")
        yield f"folder for {purpose}: {folder}{'' if writable else ', read only: no further target can be added'}"
    for sentence in flaws(settings.scratch_dir):
        yield f"but: {sentence}"
    check_static(settings)


def _isolation(settings: Settings) -> Iterator[str]:
    found = check_isolation(settings)
    yield f"isolation of runs: {found.isolation.level}"
    if found.isolation.level == "none":
        yield from found.isolation.notes


def _address(settings: Settings) -> Iterator[str]:
    listen(settings.host, settings.port).close()
    yield f"address: {settings.host}, port {settings.port or 'any'}, path {settings.root_path or '/'}"
    hosts = dict.fromkeys((*settings.allowed_hosts, *implied_hosts(settings.host)))
    every = " and each address of this machine" if listens_everywhere(settings.host) else ""
    yield f"answers to: {', '.join(hosts)}{every}"


def _toolchains(settings: Settings) -> Iterator[str]:
    found = anyio.run(discover, settings.cache_dir)
    # A server without a compiler starts, and says what is missing.
    yield f"compilers: {', '.join(one.name for one in found) or 'none; see playground doctor'}"


def _workers(settings: Settings) -> Iterator[str]:
    from app.engine.nats.broker import UnusableBrokerError
    from app.engine.nats.inventory import roster, table

    courses = load_shelf(settings.lessons_dir, settings.course).courses
    try:
        workers = anyio.run(roster, settings, courses)
    except (UnusableBrokerError, EngineUnavailableError) as error:
        raise ServeError(str(error)) from error
    yield f"broker: {settings.engine}"
    # A server without a worker starts, and says so.
    yield from table(workers).splitlines()
