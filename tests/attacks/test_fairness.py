"""Clients that ask for more than their share of the slots, as one seat or as many."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection

import httpx
import pytest

from bench.pace import pace
from tests.attacks.case import MANIFEST, attack
from tests.support.clients import seated
from tests.support.environment import SLOWER_BY
from tests.support.polling import eventually
from tests.support.server import Server

_FILES = {
    "Cargo.toml": MANIFEST,
    "src/main.rs": "fn main() { loop { std::thread::sleep(std::time::Duration::from_secs(1)); } }",
}
_ENDLESS = {"lesson": "hello-std", "command": "cargo run", "files": _FILES}
_SHORT = {"lesson": "hello-std", "command": "rustc --version"}
_RUN_SECONDS = 7.0 * SLOWER_BY
_BOUND = 6.0 * SLOWER_BY
_MOST_WAITING = 8
_SLOTS = 2


@pytest.fixture
def narrow(start_server: Callable[..., Server]) -> str:
    """The URL of a server with two slots."""
    return start_server(
        PLAYGROUND_MAX_RUNS=str(_SLOTS), PLAYGROUND_RUN_SECONDS=str(_RUN_SECONDS), PLAYGROUND_QUEUE_LENGTH="30"
    ).url


@contextmanager
def _seats(server: str, count: int) -> Iterator[list[httpx.Client]]:
    """Open clients that each have a seat."""
    with ExitStack() as stack:
        yield [stack.enter_context(seated(server)) for _ in range(count)]


def _served(client: httpx.Client) -> float:
    """Return the seconds from posting a short run to its last event."""
    began = time.monotonic()
    answer = client.post("/api/runs", json=_SHORT)
    assert answer.status_code == 202, answer.text
    assert '"status":"ok"' in client.get(answer.json()["events"]).text
    return time.monotonic() - began


def _wave(seats: list[httpx.Client]) -> list[float]:
    """Return the sorted waiting times in seconds when all seats ask at once."""
    with ThreadPoolExecutor(len(seats)) as pool:
        return sorted(pool.map(_served, seats))


def _p90(waits: list[float]) -> float:
    return waits[int(0.9 * (len(waits) - 1))]


def _hog(client: httpx.Client, running: int) -> list[str]:
    """Post 25 endless runs and return the accepted ids once the expected number is running."""
    answers = [client.post("/api/runs", json=_ENDLESS) for _ in range(25)]
    ids = [str(answer.json()["id"]) for answer in answers if answer.status_code == 202]

    def states() -> list[str]:
        return [client.get(f"/api/runs/{run_id}").json()["state"] for run_id in ids]

    assert eventually(lambda: states().count("running") >= running), f"{running} endless runs do not run at once"
    return ids


def _bound(alone: float) -> float:
    """Return the delay allowed for a seat that waits ``alone`` seconds without competition."""
    return alone + max(_BOUND * pace(), 2 * alone)


@attack("queue-hog", "make ten other seats wait behind 25 endless programs of one seat, on two slots")
def test_queue_hog(narrow: str) -> None:
    with seated(narrow) as hog:
        _served(hog)  # the first run of a server is slower
        endless = _hog(hog, running=_SLOTS)
        with _seats(narrow, 10) as seats:
            first, later = _wave(seats), _wave(seats)
            for run_id in endless:
                hog.delete(f"/api/runs/{run_id}")
            alone = _wave(seats)
            _hog(hog, running=1)
            beside = _wave(seats)
    print(f"p90: alone {_p90(alone):.2f} s, later {_p90(later):.2f}, beside {_p90(beside):.2f}; first {first[-1]:.2f}")
    assert first[-1] <= _RUN_SECONDS + _bound(alone[-1]), "delayed by more than one run's time limit"
    assert _p90(later) <= _bound(_p90(alone))
    assert _p90(beside) <= _bound(_p90(alone))
    assert len(endless) <= _SLOTS + _MOST_WAITING


@attack("queue-hog-without-cookie", "fill slots and queue without a cookie, by API and forms, from one IPv6 network")
def test_queue_hog_without_cookie(narrow: str) -> None:
    form = {"command": "cargo run"} | {f"file:{path}": text for path, text in _FILES.items()}
    accepted = 0
    with seated(narrow) as honest, httpx.Client(base_url=narrow, timeout=30) as hog:
        _served(honest)
        alone = _served(honest)
        for number in range(1, 9):
            headers = {"X-Forwarded-For": f"2001:db8::{number:x}"}
            accepted += hog.post("/api/runs", json=_ENDLESS, headers=headers).status_code == 202
            hog.cookies.clear()
            headers["HX-Request"] = "true"
            accepted += hog.post("/lessons/hello-std/runs", data=form, headers=headers).status_code == 200
            hog.cookies.clear()
        beside = _served(honest)
    print(f"alone {alone:.2f} s, beside {beside:.2f}")
    assert beside <= _bound(alone)
    assert accepted <= _SLOTS + _MOST_WAITING


@pytest.mark.quiet
@attack("every-code", "request the explanations of 200 error codes at once, while another seat requests one")
def test_every_code(narrow: str) -> None:
    def ask(address: str, code: int) -> None:
        # Not with httpx: fifty of its clients at once take longer to make than the server takes to answer.
        connection = HTTPConnection(narrow.removeprefix("http://"), timeout=120)
        with closing(connection):
            connection.request("GET", f"/explain/E0{code:03}", headers={"X-Forwarded-For": address})
            answer = connection.getresponse()
            answer.read()
        assert answer.status in (200, 404)

    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(ask, "203.0.113.9", code) for code in range(100, 300)]
        time.sleep(0.1)
        before = sum(each.done() for each in asked)
        ask("203.0.113.1", 308)
        meanwhile = sum(each.done() for each in asked) - before
        print(f"{before} of {len(asked)} answered before, {meanwhile} beside")
        # Turns are counted, not seconds: they do not depend on how busy the machine is.
        assert meanwhile <= 10
        assert before + meanwhile < len(asked), "nothing was waiting any more"
