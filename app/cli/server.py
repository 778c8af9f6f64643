"""Serve until told to stop, and then stop at once: streams are ended rather than waited for."""

import errno
import logging
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from app.cli import heap, logs
from app.engine.inventory import LocalSetup, find_setup
from app.engine.scratch import ensure_private
from app.progress import UnusableDatabaseError
from app.progress.folder import user_name
from app.sandbox import IsolationError
from app.settings import Settings, warnings_about_unknown_names
from app.settings.hosts import interface_addresses, listens_everywhere
from app.web import create_app
from app.web.guard.seats import SeatKeyError
from app.web.guard.wire import KEEP_ALIVE_SECONDS, wire_of
from app.web.state import Playground

_log = logging.getLogger(__name__)
_BACKLOG = 512
_OWN_FILES = 512
_FILES_OF_A_RUN = 16
_FEWEST_CONNECTIONS = 16
"""Connections that are allowed whatever the limit of open files."""
_BROKER_SECONDS = 10.0


class ServeError(Exception):
    """The server cannot start; the message is one sentence."""


class _Server(uvicorn.Server):
    """A uvicorn server that ends open event streams before it stops, instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, state: Playground) -> None:
        super().__init__(config)
        self._state = state

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        heap.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Close the listeners first, or a new run could begin a stream while the others end.
        for server in self.servers:
            server.close()
        await self._state.stop()
        await super().shutdown(sockets)
        # Here and not after run(), where uvicorn raises the signal that ended it again.
        _log.info("The playground has stopped")


def serve_forever(settings: Settings, announce: Callable[[int], None] | None = None) -> None:
    """Serve on ``settings.host`` and ``settings.port``. Raises ``ServeError`` if the server cannot start.

    ``announce`` gets the port once it is open, and prints the addresses in place of this function.
    """
    heap.keep_small()
    logs.configure(settings)
    for sentence in warnings_about_unknown_names():
        _log.warning(sentence)
    check_static(settings)
    found = check_isolation(settings) if settings.engine == "local" else None
    if found is None:
        _check_broker(settings)
    listener = listen(settings.host, settings.port)
    app = _create(settings, found)
    most = _allow_connections(settings)
    config = uvicorn.Config(
        app,
        http=wire_of(settings, most),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
        lifespan="on",
    )
    addresses = addresses_of(settings, listener.getsockname()[1])
    # Whoever reads the address may stop the server at once. The signal waits until the server can end in good order.
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    if announce:
        announce(listener.getsockname()[1])
    elif settings.log_format == "text":
        print(f"The playground is at {' and '.join(addresses)} (stop it with Ctrl-C)", flush=True)
    runs = found.isolation.level if found else settings.engine
    _log.info("The playground is at %s; isolation of runs: %s", " and ".join(addresses), runs)
    with listener:
        _Server(config, app.state.playground).run([listener])


def addresses_of(settings: Settings, port: int) -> list[str]:
    """Return the addresses under which browsers reach the server; of every interface if it listens on all of them."""
    if listens_everywhere(settings.host):
        hosts = [*interface_addresses(), "localhost"]
    else:
        hosts = [f"[{settings.host}]" if ":" in settings.host else settings.host]
    return [f"http://{host}:{port}{settings.root_path}/" for host in hosts]


def check_isolation(settings: Settings) -> LocalSetup:
    """Examine this machine. Raises ``ServeError`` for an address that others can reach if runs cannot be isolated."""
    try:
        found = anyio.run(find_setup, settings)
    except IsolationError as error:
        raise ServeError(str(error)) from error
    if found.isolation.level == "none" and not settings.only_local:
        why = " ".join(found.isolation.notes)
        raise ServeError(
            f"Runs cannot be isolated here, so {settings.host} is refused: anyone who reaches it could run "
            f"programs as you. Serve on 127.0.0.1. {why}"
        )
    return found


def _check_broker(settings: Settings) -> None:
    """Prepare the streams of the broker; raises ``ServeError`` if it cannot be used."""
    from app.engine.nats.broker import Broker, UnusableBrokerError
    from app.engine.nats.subjects import largest_message

    async def check() -> None:
        largest = largest_message(settings.body_bytes, settings.output_bytes)
        broker = await Broker(settings.engine, "web", settings.engine_keys).connect(_BROKER_SECONDS, largest)
        try:
            await broker.ensure(settings.run_ttl, settings.engine_replicas)
        finally:
            await broker.close()

    try:
        anyio.run(check)
    except UnusableBrokerError as error:
        raise ServeError(str(error)) from error


def _allow_connections(settings: Settings) -> int:
    """Raise the soft limit of open files as far as needed; return the number of connections that it allows.

    Connections, downloads and runs need open files. Two per connection: its socket, and a file that is being sent.
    Runs have a limit of their own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = _OWN_FILES + _FILES_OF_A_RUN * (settings.max_runs + settings.max_aside) + settings.max_downloads
    wanted = 2 * settings.max_connections + own
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most == wanted:
        return settings.max_connections
    connections = max(_FEWEST_CONNECTIONS, (most - own) // 2)
    _log.warning("This system allows %d open files, which is enough for %d connections", most, connections)
    return connections


def check_static(settings: Settings) -> None:
    """Raise ``ServeError`` unless the folder has the style sheets and scripts."""
    if not (settings.static_dir / "css").is_dir() or not (settings.static_dir / "js").is_dir():
        raise ServeError(f"PLAYGROUND_STATIC_DIR names {settings.static_dir}, which has no style sheets and scripts.")


def _create(settings: Settings, found: LocalSetup | None) -> FastAPI:
    try:
        ensure_private(settings.scratch_dir)
        return create_app(settings, found)
    except (UnusableDatabaseError, SeatKeyError) as error:
        raise ServeError(str(error)) from error
    except (OSError, sqlite3.Error) as error:
        folders = f"{settings.data_dir} and {settings.scratch_dir}"
        sentence = f"{folders} must be writable folders, for data and for runs: {error}."
        raise ServeError(f"{sentence}{_whose(settings.data_dir)}") from error


def _whose(folder: Path) -> str:
    """Return a further sentence if the folder is there and belongs to another user than the server's."""
    if not folder.exists() or folder.stat().st_uid == os.geteuid():
        return ""
    owner, own = user_name(folder.stat().st_uid), user_name(os.geteuid())
    command = f"chown -R {os.geteuid()}:{os.getegid()} {folder}"
    return f" {folder} belongs to {owner}, but the server runs as {own}. Run as root: {command}"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; raises ``ServeError`` if the address or the port cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's delay, which costs 40 ms an answer, only for a socket that names its protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # A client may connect as soon as the address is printed; the kernel keeps the connection until the app is up.
        listener.listen(_BACKLOG)
    except TypeError as error:  # the name cannot be written in the letters of a host name
        listener.close()
        raise ServeError(f"{host} is not the name of a computer, so it cannot be served on.") from error
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(f"Port {port} is taken; choose another, such as PORT={port + 1} make run.") from error
        raise ServeError(f"{host}:{port} cannot be served on: {error.strerror}.") from error
    return listener
