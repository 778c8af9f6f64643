"""Requests whose bodies cost far more than their bytes, and many bodies at once."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.attacks.case import attack
from tests.attacks.world import World
from tests.conftest import SLOWER_BY

_LONGEST = 1.5 * SLOWER_BY


@contextmanager
def _answers_all_the_while(world: World) -> Iterator[None]:
    """Ask for the server's health again and again; every answer must come soon."""
    waits: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with world.client() as client:
            while not ended.wait(0.02):
                asked = time.monotonic()
                assert client.get("/healthz").status_code == 200
                waits.append(time.monotonic() - asked)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()
    assert max(waits, default=_LONGEST) < _LONGEST


@attack("deep-keys", "have the server read a configuration whose one key has seven thousand parts")
def test_a_configuration_of_deep_keys(world: World, stranger: httpx.Client) -> None:
    config = ".".join("a" * 7000) + "=1\n[b]\n"
    body = {"lesson": "cargo-config", "command": "cargo build", "files": {".cargo/config.toml": config}}
    with _answers_all_the_while(world):
        run = stranger.post("/api/runs", json=body).json()["id"]
        stranger.delete(f"/api/runs/{run}")
