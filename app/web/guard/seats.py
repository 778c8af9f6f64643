"""Seats: a random number in a cookie, signed, so that a seat is only ever one that this server gave out.

The key is made on the first start. A key that others could read may be known to others: it is refused rather
than mended, because only its replacement would help, and that gives every browser a new seat.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self

COOKIE = "seat"
_KEY_FILE = "seat.key"
_KEY_BYTES = 32
_SEAT_BYTES = 16


class SeatKeyError(OSError):
    """The key cannot be used; the message is one sentence without its full stop."""


class Seats:
    """Gives out seats and recognises them by their signature (HMAC-SHA256)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def kept_in(cls, folder: Path) -> Self:
        """The seats of the key in this folder, made if there is none; raises ``SeatKeyError``, ``OSError``."""
        path = folder / _KEY_FILE
        if not os.path.lexists(path):
            _make(path)
        return cls(_read(path))

    def new(self) -> str:
        """A seat that nobody has: 128 random bits in hex."""
        return secrets.token_hex(_SEAT_BYTES)

    def sign(self, seat: str) -> str:
        """The cookie's value: the seat, a dot, the signature in hex."""
        return f"{seat}.{self._signature(seat)}"

    def read(self, headers: Iterable[str]) -> str | None:
        """The seat of the first genuine cookie in these ``Cookie`` headers; None when there is none.

        Cookies of other programs on the same host arrive too, in whatever form, and must not hide ours.
        """
        for header in headers:
            for pair in header.split(";"):
                name, _, value = pair.strip().partition("=")
                seat, _, signature = value.partition(".")
                if name == COOKIE and hmac.compare_digest(signature.encode("latin-1"), self._signature(seat).encode()):
                    return seat
        return None

    def _signature(self, seat: str) -> str:
        # What is signed says what it is for: the key may one day sign something else.
        return hmac.digest(self._key, f"seat {seat}".encode(), "sha256").hex()


def _make(path: Path) -> None:
    """Write the file whole under another name and link it: a second server never reads a part, and one key wins."""
    whole = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    number = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(whole, path)
    finally:
        os.unlink(whole)


def _read(path: Path) -> bytes:
    # Without O_NONBLOCK, a pipe of that name would hold the start for ever.
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != _KEY_BYTES:
            raise SeatKeyError(f"{path} is not a key; delete it, and every browser gets a new seat")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise SeatKeyError(
                f"others can read the key {path}; delete it, and every browser gets a new seat, "
                "or run chmod 600 on it if nobody has read it"
            )
        return file.read()
