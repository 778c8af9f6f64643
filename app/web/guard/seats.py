"""Identify browsers by seats: random numbers in signed cookies, so that only this server can issue them.

The first start creates the key. A key that other users could read may be known to them. The server refuses it instead
of repairing its mode, because only a new key would help, and a new key gives every browser a new seat.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from app.progress.folder import KEY_BYTES, SEAT_KEY, newest_backup, user_name

OLD_NAME = "seat"
"""The cookie's name until November 2026, whatever the key and the scheme."""
_OLD_NAME_ENDS = datetime(2027, 2, 27, tzinfo=UTC)
"""The day from which cookies with the old name are ignored, 90 days later."""
_SEAT_BYTES = 16
_FINGERPRINT = 8


class SeatKeyError(OSError):
    """The key cannot be used. The message says why, and what to do."""


class SeveralSeatsError(ValueError):
    """A request has several genuine cookies of one name, and nothing shows which one is the learner's own."""


class Seats:
    """Issue seats and verify them by their signature (HMAC-SHA256)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def kept_in(cls, folder: Path) -> Self:
        """Return the seats of the key in this folder, created if missing; raises ``SeatKeyError``, ``OSError``."""
        path = folder / SEAT_KEY
        if not os.path.lexists(path):
            _create_key(path)
        return cls(_read_key(path))

    def new(self) -> str:
        """Return a new seat: 128 random bits in hex."""
        return secrets.token_hex(_SEAT_BYTES)

    def sign(self, seat: str) -> str:
        """Return the cookie's value: the seat, a dot, the signature in hex."""
        return f"{seat}.{self._signature(seat)}"

    def mark(self, seat: str) -> str:
        """Return a short name for the seat, by which its browser tells it from others. It does not reveal the seat."""
        return hmac.digest(self._key, f"mark {seat}".encode(), "sha256").hex()[:_FINGERPRINT]

    def name(self, scheme: str, root: str) -> str:
        """Return the name of the cookie for a server at this root path.

        The name contains a fingerprint of the key and the path, so playgrounds on one host do not touch each other's
        seats, whatever their ports and paths. With TLS, browsers enforce the prefix: no other host, no page without TLS
        and, for ``__Host-``, no other path can have set the cookie.
        """
        fingerprint = hmac.digest(self._key, f"cookie {root}".encode(), "sha256").hex()[:_FINGERPRINT]
        prefix = "" if scheme != "https" else "__Secure-" if root else "__Host-"
        return f"{prefix}{OLD_NAME}-{fingerprint}"

    def read(self, headers: Iterable[str], name: str) -> str | None:
        """Return the seat of the genuine cookie of that name in these ``Cookie`` headers, or None.

        The headers also contain cookies of other programs on the same host, in any form, which must not hide ours.
        Raises ``SeveralSeatsError`` for two seats: browsers send the cookie with the longest path first, so their order
        does not show who set them.
        """
        found = set(self._genuine(headers, name))
        if len(found) > 1:
            raise SeveralSeatsError(name)
        return found.pop() if found else None

    def read_old(self, headers: Iterable[str]) -> str | None:
        """Return the seat of a cookie with the old name, until that is ignored; None if there are two seats."""
        if datetime.now(UTC) >= _OLD_NAME_ENDS:
            return None
        with suppress(SeveralSeatsError):
            return self.read(headers, OLD_NAME)
        return None

    def _genuine(self, headers: Iterable[str], wanted: str) -> Iterator[str]:
        for header in headers:
            for pair in header.split(";"):
                name, _, value = pair.strip().partition("=")
                seat, _, signature = value.partition(".")
                if name == wanted and hmac.compare_digest(signature.encode("latin-1"), self._signature(seat).encode()):
                    yield seat

    def _signature(self, seat: str) -> str:
        # The signed text states its purpose, because the key may one day sign something else.
        return hmac.digest(self._key, f"seat {seat}".encode(), "sha256").hex()


def examine_key(folder: Path) -> None:
    """Raise ``SeatKeyError`` if the folder has a key that cannot be used. Creates none."""
    if os.path.lexists(folder / SEAT_KEY):
        _read_key(folder / SEAT_KEY)


def _create_key(path: Path) -> None:
    """Write the file under another name and link it, so that a second server never reads a part and one key wins."""
    whole = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    number = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(whole, path)
    finally:
        os.unlink(whole)


def _read_key(path: Path) -> bytes:
    # Without O_NONBLOCK, a named pipe in its place would block startup forever.
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        raise SeatKeyError(_foreign(path, path.lstat())) from None
    except OSError as error:
        raise SeatKeyError(_damaged(path, error.strerror or str(error))) from error
    with os.fdopen(number, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise SeatKeyError(_damaged(path, "it is not a file"))
        if status.st_size != KEY_BYTES:
            raise SeatKeyError(_damaged(path, f"its size in bytes is {status.st_size}, not {KEY_BYTES}"))
        if status.st_uid != os.geteuid():
            raise SeatKeyError(_foreign(path, status))
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise SeatKeyError(_readable(path, stat.S_IMODE(status.st_mode)))
        return file.read()


def _damaged(path: Path, why: str) -> str:
    return (
        f"The key {path} is damaged: {why}. {newest_backup(path.parent)} "
        "Without a backup, delete the key: every browser then gets a new seat, without its progress."
    )


def _foreign(path: Path, status: os.stat_result) -> str:
    # The server's user and group, because a key of another user is usually one that root has copied here.
    return (
        f"The key {path} belongs to {user_name(status.st_uid)}, but the server runs as {user_name(os.geteuid())}. "
        f"Run as root: chown {os.geteuid()}:{os.getegid()} {path}"
    )


def _readable(path: Path, mode: int) -> str:
    return (
        f"Other users can read the key {path} (mode {mode:o}). If nobody has read it, run: chmod 600 {path}. "
        "Otherwise delete it: every browser then gets a new seat, without its progress."
    )
