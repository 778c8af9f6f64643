"""The only reader of ``PLAYGROUND_*`` variables, which become one frozen object, passed down."""

import os
import re
import tempfile
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from limits import parse
from platformdirs import user_cache_path, user_data_path
from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_PACKAGE = Path(__file__).resolve().parent
_NAME = "freestanding-playground"
_MOST_MEMORY = 1024 * 1024 * 1024


def _content(name: str) -> Path:
    # A wheel carries lessons and static files inside the package; in a checkout they stand beside it.
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def _cache_folder() -> Path:
    # Root's own folder is closed to the users that runs get when the server is root.
    return Path("/var/cache") / _NAME if os.geteuid() == 0 else user_cache_path(_NAME)


def _scratch_folder(known: dict[str, Any]) -> Path:
    data: Path = known["data_dir"]
    folder = Path(tempfile.gettempdir())
    return folder / f"{_NAME}-{os.getuid()}" if starts_programs(folder) else data / "scratch"


def starts_programs(folder: Path) -> bool:
    """Whether programs can be started from the folder: a /tmp that was mounted for a container often lets none."""
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


def _memory() -> int:
    there = [_MOST_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # ``max`` is no number, and no limit
            there.append(int(Path("/sys/fs/cgroup", name).read_text()) // 2)
    return max(min(there), 64 * 1024 * 1024)


def _rate(text: str) -> str:
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no rate; write one such as 30/minute or 5/10 seconds") from error
    return text


def _root(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError(f"{text!r} is no path of an address; write one such as /rust")
    return path


def _network(text: str) -> str:
    ip_network(text, strict=False)  # raises ValueError, in words that name the text
    return text


Rate = Annotated[str, AfterValidator(_rate)]
"""How many in how long, as the library ``limits`` writes it: ``30/minute``."""


class Settings(BaseSettings):
    """What an operator can set; each field ``x`` is the variable ``PLAYGROUND_X``.

    Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(env_prefix="PLAYGROUND_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address to serve on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to serve on")
    allowed_hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"),
        description="host names that a request may be addressed to, as a JSON list",
    )
    root_path: Annotated[str, AfterValidator(_root)] = Field(
        "", description="path below which a proxy offers the playground, such as /rust"
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        ("127.0.0.1", "::1"),
        description="proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses or networks, as a JSON list",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text for people on standard error, or JSON, one object a line, on standard output"
    )
    data_dir: Path = Field(default_factory=lambda: user_data_path(_NAME), description="progress of the learners")
    scratch_dir: Path = Field(
        default_factory=_scratch_folder,
        description="where runs are laid and artefacts kept; no cargo configuration may lie above it",
    )
    cache_dir: Path = Field(default_factory=_cache_folder, description="built targets and unpacked toolchains")
    lessons_dir: Path = Field(
        _content("lessons"),
        description="where the lessons are read from: a folder of courses, or the folder of one course",
    )
    course: str = Field("", description="folder of the default course; empty for the first one by name")
    static_dir: Path = Field(_content("static"), description="style sheets and scripts")
    max_runs: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="runs at once; further ones are queued"
    )
    queue_length: int = Field(200, ge=1, description="runs that may wait; one more is refused")
    owner_queue_length: int = Field(
        8, ge=1, description="runs of one seat, or of one address without a cookie, that may wait; one more is refused"
    )
    run_seconds: float = Field(20.0, gt=0, description="wall-clock time of a run, the queue not counted")
    program_seconds: float = Field(
        2.0,
        gt=0,
        description="a freestanding program that still runs after this long is ended, which counts as a result",
    )
    boot_seconds: float = Field(
        3.0,
        gt=0,
        description="an emulated machine that still runs after this long is switched off, which is no failure",
    )
    isolation: Literal["auto", "namespaces", "landlock", "none"] = Field(
        "auto", description="how strictly runs are kept; auto takes the strongest level that works here"
    )
    control_groups: bool = Field(
        True, description="let control groups hold memory and processes too, where they can be made"
    )
    cpu_seconds: float = Field(30.0, gt=0, description="processor time of a run, over all its processes")
    memory_bytes: int = Field(
        default_factory=_memory, ge=64 * 1024 * 1024, description="memory of a run, over all its processes"
    )
    processes: int = Field(128, ge=16, description="processes and threads of a run at once")
    open_files: int = Field(256, ge=64, description="open files of one process of a run")
    file_size_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, description="size of one file that a run writes")
    workspace_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024, description="size of all files of a run")
    workspace_files: int = Field(10_000, ge=100, description="number of files of a run")
    output_bytes: int = Field(1024 * 1024, ge=1024, description="what a run may print, with all parts of messages")
    file_bytes: int = Field(64 * 1024, ge=1024, description="size of one edited file")
    body_bytes: int = Field(1024 * 1024, ge=1024, description="size of one request's body")
    reader_seconds: float = Field(
        15.0, gt=0, description="a page's run that nobody has read for this long is cancelled"
    )
    run_ttl: float = Field(3600.0, gt=0, description="a finished run and its artefact are kept this long")
    request_seconds: float = Field(
        10.0, gt=0, description="a request's head, and then its body, must have arrived after this long"
    )
    stalled_seconds: float = Field(20.0, gt=0, description="a reader that takes nothing for this long is cut off")
    max_connections: int = Field(1500, ge=1, description="open connections; one more ends the longest idle one")
    address_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="part of connections, streams and downloads that an address gets where others want them too",
    )
    max_downloads: int = Field(64, ge=1, description="downloads of artefacts at once in all")
    max_seat_downloads: int = Field(
        8, ge=1, description="downloads of artefacts at once by one seat, or by one address without a seat"
    )
    max_streams: int = Field(1000, ge=1, description="open event streams in all")
    max_run_streams: int = Field(20, ge=1, description="open event streams of one run")
    max_seat_streams: int = Field(20, ge=1, description="open event streams by one seat")
    seat_runs: Rate = Field("30/minute", description="runs that one seat may start; on all compilers, each counts")
    address_runs: Rate = Field("1000/minute", description="runs that one client address may start")
    seat_changes: Rate = Field("60/minute", description="other posts, such as cancel and reset, by one seat")
    address_changes: Rate = Field("2000/minute", description="other posts by one client address")
    seat_streams: Rate = Field("60/minute", description="event streams that one seat may open")
    address_streams: Rate = Field("3000/minute", description="event streams that one client address may open")
    seat_reads: Rate = Field("600/minute", description="pages and API answers that one seat may fetch")
    address_reads: Rate = Field("20000/minute", description="pages and API answers for one client address")
