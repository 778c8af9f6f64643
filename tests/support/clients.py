"""Clients of a real server."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest


@contextmanager
def seated(url: str, **options: Any) -> Iterator[httpx.Client]:
    """Open a client with a new seat, which it gets from the start page as a browser does."""
    with httpx.Client(base_url=url, timeout=30, **options) as client:
        assert client.get("/").status_code == 200
        yield client


def seat_of(cookies: httpx.Cookies) -> str:
    """Return the seat id in the signed cookie."""
    return cookies[cookie_name(cookies)].partition(".")[0]


def cookie_name(cookies: httpx.Cookies) -> str:
    """Return the name of the seat cookie, which ends with a fingerprint of the server's key."""
    [name] = [name for name in cookies if re.fullmatch(r"(__Host-|__Secure-)?seat-[0-9a-f]{8}", name)]
    return name


def disagreement(server: str) -> tuple[str, str]:
    """Return a lesson and a command for which the installed compilers print different output.

    Rust 1.63 words its errors differently. Without it, any two compilers still print different versions. Skips the
    test when only one compiler is installed.
    """
    names = httpx.get(f"{server}/api/lessons/panic-handler").json()["toolchains"]
    if len(names) < 2:
        pytest.skip("only one compiler is here; playground setup --era brings another on Debian 12")
    return ("panic-handler", "cargo build") if "1.63" in names else ("target-triple", "rustc --version --verbose")
