"""``playground class``: hold a class, and work on the one that is open."""

import csv
import io
import json
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import SplitResult, urlsplit

import typer

from app.cli.common import run, settings_of, stop
from app.progress import Progress, RoomStore, UnusableDatabaseError
from app.settings import Settings
from app.settings.hosts import interface_addresses, parse_listed_host

classroom = typer.Typer(invoke_without_command=True, help="Hold a class on this network.", rich_markup_mode=None)
_T = TypeVar("_T")
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters of a code: no vowels, so that it spells no word, and none that looks like a digit."""
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")


@classroom.callback()
def hold(
    context: typer.Context,
    address: Annotated[
        str, typer.Option(help="Learners' address: 192.168.1.5, a name, with a port, or https://… behind a proxy.")
    ] = "",
    port: Annotated[int | None, typer.Option(help="TCP port to serve on.", min=0, max=65535)] = None,
    name: Annotated[str, typer.Option(help="Name of the class.")] = "",
    code: Annotated[bool, typer.Option("--code", help="Ask learners for a code of four letters.")] = False,
    rehearse: Annotated[int, typer.Option(help="Fill a class of its own with this many simulated learners.")] = 0,
) -> None:
    """Serve the course to a class: learners join by a QR code, and the instructor sees who needs help."""
    if context.invoked_subcommand is None:
        _hold(address, port, name, code=code, rehearse=rehearse)


def _hold(address: str, port: int | None, name: str, *, code: bool, rehearse: int) -> None:
    if not address and any(os.path.exists(path) for path in _CONTAINERS):
        stop(
            "A container does not know the address under which learners reach it. Run `hostname -I` on the host, "
            "and pass its address: playground class --address 192.168.1.5"
        )
    parts = _parts(address)
    settings = settings_of(**({"port": port} if port is not None else {}))
    if "host" not in settings.model_fields_set:
        settings = settings.model_copy(update={"host": "0.0.0.0"})  # noqa: S104  (a class is for the network)
    own = ("localhost", "127.0.0.1", "[::1]", *((parts.netloc,) if parts else ()))
    settings = settings.model_copy(update={"allowed_hosts": tuple(dict.fromkeys((*settings.allowed_hosts, *own)))})
    if not rehearse:
        _serve(settings, address, name, lambda _port, _code: None, code=code)
        return
    # The simulated learners need an HTTP client, which would cost a real class memory.
    from app.cli.rehearsal import Rehearsal

    with Rehearsal(settings, rehearse) as rehearsal:
        _serve(rehearsal.settings, address, name, rehearsal.begin, code=code)


def _serve(settings: Settings, address: str, name: str, begin: Callable[[int, str], None], *, code: bool) -> None:
    """Open the class, announce it, and serve; ``begin`` gets the port and the code once the port is open."""
    from app.cli.serve import serve_or_stop

    def announce(port: int) -> None:
        shown = learners_address(address, settings, port)
        key, letters = opened(settings, shown, name, code=code)
        print(announcement(shown, key, letters), flush=True)
        begin(port, letters)

    serve_or_stop(settings, announce)


def _parts(address: str) -> SplitResult | None:
    """Return the parts of the learners' address, None without one; stop if it cannot be one."""
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or parse_listed_host(parts.netloc) is None or parts.query:
        stop(f"{address!r} is no address; write one such as 192.168.1.5, rust.example.org or https://rust.example.org.")
    return parts


def learners_address(given: str, settings: Settings, port: int) -> str:
    """Return the URL for learners, without a slash at its end; ``port`` is the one that the server listens on."""
    parts = _parts(given)
    if parts is None:
        return f"http://{next(iter(interface_addresses()), 'localhost')}:{port}{settings.root_path}"
    has_port = re.search(r":\d+$", parts.netloc) is not None
    netloc = parts.netloc if "://" in given or has_port else f"{parts.netloc}:{port}"
    path = parts.path.rstrip("/") if "://" in given else settings.root_path
    return f"{parts.scheme}://{netloc}{path}"


def opened(settings: Settings, address: str, name: str, *, code: bool) -> tuple[str, str]:
    """Open the class, or go on with the open one; return the first instructor's key and the code, if any."""
    from app.web.classroom import FIRST, new_key

    async def work(room: RoomStore) -> tuple[str, str]:
        letters = "".join(secrets.choice(_LETTERS) for _ in range(4)) if code else ""
        values = {"address": address} | ({"name": name} if name else {})
        return await room.begin(time.time(), values, FIRST, new_key(), letters)

    return _on_room(settings, work)


def announcement(address: str, key: str, code: str) -> str:
    """Return what is printed for the instructor: both addresses, and the learners' as a QR code."""
    import segno

    drawn = io.StringIO()
    segno.make_qr(f"{address}/", error="l").terminal(drawn, compact=True, border=2)
    joined = f"\nCode:        {code}" if code else ""
    return (
        f"{drawn.getvalue()}\nLearners:    {address}/{joined}\nInstructor:  {address}/class#{key}\n"
        "(Keep the instructor's link to yourself. `playground class key` replaces it. Stop with Ctrl-C.)"
    )


@classroom.command()
def key(
    co_instructor: Annotated[str, typer.Option("--for", help="Make a link for another instructor of that name.")] = "",
    withdraw: Annotated[str, typer.Option(help="Withdraw the link of the other instructor of that name.")] = "",
) -> None:
    """Replace the instructor's key; the old link and its cookies stop working at once."""
    from app.web.classroom import FIRST, new_key

    fresh = new_key()

    async def work(room: RoomStore) -> str:
        state = await room.state()
        if state is None:
            stop("No class is open; `playground class` opens one.")
        known = {name: name_id for name_id, (_, name) in (await room.instructors()).items()}
        if withdraw:
            if withdraw not in known:
                others = ", ".join(name for name in known if name) or "nobody"
                stop(f"{withdraw!r} has no link; {others} has one.")
            await room.withdraw(known[withdraw])
            return f"The link of {withdraw} does not work any more."
        name_id = known.get(co_instructor) or (secrets.token_hex(4) if co_instructor else FIRST)
        await room.admit(name_id, fresh, co_instructor, time.time())
        return f"Instructor:  {state.address}/class#{fresh}"

    print(_on_room(settings_of(), work))


@classroom.command()
def end(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """End the class: delete names, tries, hands and messages. Sums per step and the learners' files stay."""
    if not yes:
        typer.confirm(
            "Delete the names and the tries of this class? `playground class export` saves them first.", abort=True
        )
    _on_room(settings_of(), lambda room: room.end())
    print("The class has ended. Its names and tries are deleted.")


@classroom.command()
def export(
    names: Annotated[bool, typer.Option("--names", help="Include names and numbers of seats.")] = False,
    sums: Annotated[bool, typer.Option("--sums", help="Sums per step instead of single tries.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV instead of JSON.")] = False,
) -> None:
    """Print the tries of the class, or its sums per step."""

    async def work(room: RoomStore) -> list[dict[str, object]]:
        return await room.sums() if sums else await room.tries(names=names)

    print(exported(_on_room(settings_of(), work), as_csv=as_csv), end="")


def exported(rows: list[dict[str, object]], *, as_csv: bool) -> str:
    """Return rows as CSV with a line of names, or as a JSON array."""
    if not as_csv:
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        # A spreadsheet would execute a name that begins with one of these as a formula.
        writer.writerows({key: _as_text(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _as_text(value: object) -> object:
    # NFKC, because some spreadsheets take a full-width sign for the usual one.
    first = unicodedata.normalize("NFKC", value[:1]) if isinstance(value, str) else ""
    return f"'{value}" if first.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _on_room(settings: Settings, work: Callable[[RoomStore], Awaitable[_T]]) -> _T:
    """Do work on the stored class, also while a server runs."""

    async def opened() -> Any:
        progress = Progress(settings.data_dir / "progress.sqlite3")
        try:
            return await work(progress.room)
        finally:
            progress.close()

    try:
        found: _T = run(opened)
    except (UnusableDatabaseError, OSError) as error:
        stop(str(error))
    return found
