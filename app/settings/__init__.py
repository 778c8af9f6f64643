"""Read the ``PLAYGROUND_*`` variables, here and nowhere else, into one frozen object that is passed down."""

import difflib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from limits import parse_many
from platformdirs import user_cache_path, user_data_path
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.settings.hosts import parse_listed_host

_PACKAGE = Path(__file__).resolve().parents[1]
_NAME = "freestanding-playground"
_MOST_MEMORY = 1024 * 1024 * 1024
_LEAST_MEMORY = 64 * 1024 * 1024
_MOST_ASIDE = 64
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
_LEAST_IN_MEMORY = 3 * 1024 * 1024 * 1024
"""The least size of the folder in memory. It is half of the machine's memory by default.

With two slots, runs and their artifacts take up to 2.5 GiB there (``app.engine.retention``, ``max_aside``).
"""


def _content(name: str) -> Path:
    # A wheel contains lessons and static files inside the package; in a checkout they are next to it.
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def _cache_folder() -> Path:
    # When the server is root, runs get users of their own, who cannot enter root's home.
    return Path("/var/cache") / _NAME if os.geteuid() == 0 else user_cache_path(_NAME)


def _scratch_folder(known: dict[str, Any]) -> Path:
    data: Path = known["data_dir"]
    name = f"{_NAME}-{os.getuid()}"
    return next((folder / name for folder in _temporary_folders() if starts_programs(folder)), data / "scratch")


def _temporary_folders() -> Iterator[Path]:
    """Yield the folders for temporary files; first the one in memory, unless it is small or the user has named one."""
    with suppress(OSError):
        found = os.statvfs(_IN_MEMORY)
        is_large = found.f_blocks * found.f_frsize >= _LEAST_IN_MEMORY
        is_named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
        if is_large and not is_named and os.access(_IN_MEMORY, os.W_OK):
            yield _IN_MEMORY
    yield Path(tempfile.gettempdir())


def starts_programs(folder: Path) -> bool:
    """Return True if programs can be started from the folder. A container's /tmp is often mounted ``noexec``."""
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC


def _memory() -> int:
    return max(min(_MOST_MEMORY, _machine_memory() // 2), _LEAST_MEMORY)


def _machine_memory() -> int:
    """Return the bytes of memory that this process and its runs may use together."""
    bounds = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # the file may say ``max``: no limit
            bounds.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(bounds)


def _max_aside(known: dict[str, Any]) -> int:
    """Return twice ``max_runs``, or fewer if the memory has no room for them and for the server.

    More would take time from the others, because each is watched: with eight on two processors, a hundred learners
    wait for seconds.
    """
    slots: int = known["max_runs"]
    each: int = known["memory_bytes"] + known["workspace_bytes"]
    return max(1, min(2 * slots, _MOST_ASIDE, _machine_memory() // each - slots - 1))


def _rate(text: str) -> str:
    found = []
    with suppress(ValueError):
        found = parse_many(text)
    # A second rate in the text would not count, and nothing at all cannot be meant.
    if len(found) != 1 or not found[0].amount:
        raise ValueError(f"{text!r} is not a rate; write one such as 30/minute or 5/10 seconds")
    return text


def _root(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError(f"{text!r} is not a URL path; write one such as /rust")
    return path


def _network(text: str) -> str:
    ip_network(text, strict=False)  # raises ValueError with a message that quotes the text
    return text


def _host(text: str) -> str:
    if parse_listed_host(text) is None:
        raise ValueError(f"{text!r} is not a host; write a name or an address without http://, such as 192.168.1.5")
    return text


def _listed(given: Any) -> Any:
    """Return a list as it stands in a variable: JSON, or ``a,b``."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        with suppress(ValueError):  # "[::1]" alone is a host
            return json.loads(given)
    return [part.strip() for part in given.split(",") if part.strip()]


def _metrics(text: str) -> str:
    try:
        ip_network(text or "127.0.0.1", strict=False)
    except ValueError:
        if len(text) < 16 or not text.isascii() or not text.isprintable():
            raise ValueError(f"{text!r} is neither an address nor a token of at least 16 ASCII characters") from None
    return text


Rate = Annotated[str, AfterValidator(_rate)]
"""A number of requests and a time, in the notation of the library ``limits``: ``30/minute``."""

# The upper bounds are far above any use. Beyond them, the kernel, the broker or Python's dates would not take a value,
# and each run would fail instead of the start.
Seconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600)]
SecondsOrZero = Annotated[float, Field(ge=0, le=366 * 24 * 3600)]
Number = Annotated[int, Field(ge=1, le=1_000_000)]
Bytes = Annotated[int, Field(ge=1024, le=2**50)]


def _engine(address: str) -> str:
    if address == "local" or re.fullmatch(r"(nats|tls)://[^\s/?#]+", address):
        return address
    raise ValueError("must be local, or the address of a NATS server, such as nats://127.0.0.1:4222")


PREFIX = "PLAYGROUND_"


class Settings(BaseSettings):
    """The operator's settings. The field ``x`` is the variable ``PLAYGROUND_X``.

    Times are in seconds, sizes in bytes.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on")
    allowed_hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_listed)] = (
        Field(
            ("localhost", "127.0.0.1", "[::1]"),
            description="host names under which browsers may reach the server, as a,b or as a JSON list",
        )
    )
    root_path: Annotated[str, AfterValidator(_root)] = Field(
        "", description="path under which a proxy serves the playground, such as /rust"
    )
    trusted_proxies: Annotated[
        tuple[Annotated[str, AfterValidator(_network)], ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        ("127.0.0.1", "::1"),
        description="proxies whose X-Forwarded-For and -Proto are trusted: addresses or networks, as a,b or JSON",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text for people on standard error, or JSON on standard output, one object per line"
    )
    access_log: bool = Field(False, description="also log a line for each answered request")
    log_addresses: bool = Field(False, description="log the clients' addresses in the lines about requests")
    metrics: Annotated[str, AfterValidator(_metrics)] = Field(
        "",
        description="who may read /metrics: an address, a network, or a token of at least 16 characters; empty: nobody",
    )
    data_dir: Path = Field(default_factory=lambda: user_data_path(_NAME), description="the learners' progress")
    scratch_dir: Path = Field(
        default_factory=_scratch_folder,
        description="folder for runs and artifacts; no parent folder may contain a cargo configuration",
    )
    cache_dir: Path = Field(default_factory=_cache_folder, description="built targets and unpacked toolchains")
    lessons_dir: Path = Field(
        _content("lessons"),
        description="folder of the lessons: a folder of courses, or the folder of one course",
    )
    course: str = Field("", description="folder name of the default course; empty for the first by name")
    static_dir: Path = Field(_content("static"), description="style sheets and scripts")
    max_runs: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=256,  # as root each has a user id of its own, of which there are 478
        description="concurrent runs; further runs are queued. Long ones may go on besides",
    )
    queue_length: Number = Field(200, description="length of the queue; further runs are refused")
    owner_queue_length: Number = Field(
        8, description="queued runs of one seat, or of one address without a cookie; further runs are refused"
    )
    run_seconds: Seconds = Field(20.0, description="wall-clock time of a run, without its time in the queue")
    program_seconds: Seconds = Field(
        2.0, description="a freestanding program is stopped after this long, which counts as a result"
    )
    boot_seconds: Seconds = Field(
        3.0, description="an emulated machine is switched off after this long, which is not a failure"
    )
    isolation: Literal["auto", "namespaces", "landlock", "none"] = Field(
        "auto", description="level of isolation of runs; auto chooses the strongest one that works here"
    )
    control_groups: bool = Field(
        True, description="limit memory and processes by control groups too, where they can be created"
    )
    cpu_seconds: Seconds = Field(30.0, description="CPU time of a run, summed over its processes")
    memory_bytes: int = Field(
        default_factory=_memory, ge=64 * 1024 * 1024, le=2**50, description="memory of a run, summed over its processes"
    )
    processes: int = Field(128, ge=16, le=1_000_000, description="concurrent processes and threads of a run")
    open_files: int = Field(256, ge=64, le=1_000_000, description="open files of each process of a run")
    file_size_bytes: int = Field(
        64 * 1024 * 1024, ge=1024 * 1024, le=2**50, description="size of each file that a run writes"
    )
    workspace_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024, le=2**50, description="total size of a run's files")
    max_aside: int = Field(
        default_factory=_max_aside,
        ge=0,
        le=_MOST_ASIDE,
        description="long runs that go on besides max_runs, at the lowest priority",
    )
    workspace_files: int = Field(10_000, ge=100, le=100_000_000, description="number of a run's files")
    output_bytes: Bytes = Field(1024 * 1024, description="output of a run, all parts of compiler messages included")
    file_bytes: Bytes = Field(64 * 1024, description="size of each edited file")
    body_bytes: Bytes = Field(1024 * 1024, description="size of a request body")
    reader_seconds: Seconds = Field(
        15.0, description="a run started from a page is cancelled when no reader has followed it for this long"
    )
    engine: Annotated[str, AfterValidator(_engine)] = Field(
        "local", description="local, or the address of a NATS server whose workers execute the runs: nats://host:4222"
    )
    engine_keys: Path | None = Field(
        None, description="with workers elsewhere: folder with this process's key, as playground engine init makes it"
    )
    engine_replicas: int = Field(
        1, ge=1, le=5, description="with workers elsewhere: NATS servers of a cluster that keep each message"
    )
    worker_seconds: Seconds = Field(
        60.0, description="with workers elsewhere: runs end as lost when no worker has been there for this long"
    )
    seat_days: int = Field(
        180,
        ge=0,
        le=36_500,
        description="seats that have run nothing for this many days are deleted; 0 keeps them for ever",
    )
    drain_seconds: SecondsOrZero = Field(
        1.0, description="when the server stops, runs that are running have this long to end by themselves"
    )
    keep_answers: bool = Field(
        True, description="answer a run of a lesson's own text like an identical run before it, if there was one"
    )
    ready_seconds: SecondsOrZero = Field(
        600.0, description="how long a sandbox that was made ahead waits for a run; 0: none is made ahead"
    )
    artifact_readers: int = Field(
        # A std program takes a processor for a quarter of a second.
        default_factory=lambda: min(4, max(2, os.cpu_count() or 1)),
        ge=1,
        le=16,
        description="artifacts that are read at once",
    )
    run_ttl: Seconds = Field(3600.0, description="how long a finished run and its artifact are kept")
    request_seconds: Seconds = Field(10.0, description="timeout for receiving a request's head, and then for its body")
    stalled_seconds: Seconds = Field(20.0, description="a client that reads nothing for this long is disconnected")
    max_connections: Number = Field(
        1500, description="open connections; at the limit, a new one closes the longest idle one"
    )
    address_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of connections, streams and downloads that one address gets when others need them too",
    )
    max_downloads: Number = Field(64, description="concurrent artifact downloads in total")
    max_seat_downloads: Number = Field(
        8, description="concurrent artifact downloads by one seat, or by one address without a cookie"
    )
    max_streams: Number = Field(1000, description="open event streams in total")
    max_run_streams: Number = Field(20, description="open event streams of one run")
    max_seat_streams: Number = Field(20, description="open event streams by one seat")
    seat_runs: Rate = Field(
        "30/minute", description="runs that one seat may start; a run on all compilers counts once per compiler"
    )
    address_runs: Rate = Field("1000/minute", description="runs that one client address may start")
    seat_changes: Rate = Field("60/minute", description="other changing requests of one seat, such as cancel and reset")
    address_changes: Rate = Field("2000/minute", description="other changing requests of one client address")
    seat_streams: Rate = Field("60/minute", description="event streams that one seat may open")
    address_streams: Rate = Field("3000/minute", description="event streams that one client address may open")
    seat_reads: Rate = Field("600/minute", description="pages and API answers that one seat may fetch")
    address_reads: Rate = Field("20000/minute", description="pages and API answers for one client address")

    @property
    def only_local(self) -> bool:
        """Return True if only this computer can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def warnings_about_unknown_names() -> list[str]:
    """Return a sentence for each variable with our prefix that is not a setting."""
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    return [_unknown(name, known) for name in sorted(os.environ) if name.startswith(PREFIX) and name not in known]


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.8)
    meant = f" Did you mean {near[0]}?" if near else " docs/settings.md lists the settings."
    return f"{name} is not a setting and is ignored.{meant}"
