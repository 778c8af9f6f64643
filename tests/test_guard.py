"""The guard before every request, tested with raw bytes against a real server."""

import http.client
import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings
from app.settings.hosts import Host
from app.web.guard import PAUSE
from app.web.guard.hosts import Hosts, check_origin
from app.web.guard.rates import Rates, address_of, kind
from app.web.problem import ProblemError
from tests.support.clients import seated
from tests.support.environment import within
from tests.support.server import Server

RUN = b'{"lesson": "hello-std", "command": "rustc --version"}'
FORWARDED = {"x-forwarded-for": "192.0.2.7"}
"""A header that makes a request from this machine look like a remote one behind a proxy."""


def raw(server: str, head: bytes, body: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Send these bytes and return the answer's status and error code."""
    parts = urlsplit(server)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as wire:
        wire.sendall(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body)
        answer = http.client.HTTPResponse(wire)
        answer.begin()
        text = answer.read()
    is_json = answer.headers.get_content_type() == "application/json" and answer.status >= 400
    return answer.status, json.loads(text)["error"] if is_json else {}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /api/lessons HTTP/1.1\nHost: localhost", 200),
        (b"GET /api/lessons HTTP/1.1\nHost: LocalHost:1", 200),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost.:80", 200),
        (b"GET /api/lessons HTTP/1.1\nHost: [::1]:8000", 200),
        (b"GET /api/lessons HTTP/1.1\nhOsT: 127.0.0.1", 200),
        (b"GET /api/lessons HTTP/1.1", 400),
        (b"GET /api/lessons HTTP/1.0", 400),
        (b"GET /api/lessons HTTP/1.1\nHost:", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nHost: localhost", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nHost: evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost, evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost.evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost..", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: user@localhost", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost@evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost:80:80", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost:x", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost/", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: ::1", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: [::1].evil.example", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: 0.0.0.0", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: 2130706433", 400),
        (b"GET /api/lessons HTTP/1.1\nHost: evil.example\nX-Forwarded-Host: localhost", 400),
        (b"GET http://evil.example/api/lessons HTTP/1.1\nHost: localhost", 400),
        (b"GET http://localhost/api/lessons HTTP/1.1\nHost: evil.example", 400),
        (b"GET //evil.example/api/lessons HTTP/1.1\nHost: localhost", 404),
        (b"OPTIONS * HTTP/1.1\nHost: localhost", 400),
        (b"CONNECT evil.example:80 HTTP/1.1\nHost: localhost", 400),
    ],
)
def test_only_the_listed_hosts_are_answered(server: str, head: bytes, status: int) -> None:
    assert raw(server, head)[0] == status


@pytest.mark.parametrize(
    ("given", "allowed"),
    [
        (["course.example:8443"], True),
        (["COURSE.example.:8443"], True),
        (["course.example"], False),
        (["course.example:80"], False),
        (["[fe80::1]:80"], True),
        (["*"], False),
        ([], False),
        (["any.example", "any.example"], False),
        (["any.example"], True),
    ],
)
def test_an_operator_may_list_ports_and_bare_ipv6_addresses(given: list[str], allowed: bool) -> None:
    hosts = Hosts(("course.example:8443", "fe80::1", "Any.Example."))
    if allowed:
        assert hosts.check(given).name
    else:
        with pytest.raises(ProblemError, match="ALLOWED_HOSTS"):
            hosts.check(given)


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=40), max_size=3))
def test_any_host_is_allowed_or_refused(given: list[str]) -> None:
    try:
        host = Hosts(("localhost",)).check(given)
    except ProblemError:
        return
    assert re.fullmatch(r"localhost\.?(:\d{1,5})?", given[0].lower())
    assert host.name == "localhost"


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"", 202),
        (b"\nOrigin: http://localhost:1", 202),
        (b"\nOrigin: HTTP://LOCALHOST:1", 202),
        (b"\nSec-Fetch-Site: none", 202),
        (b"\nOrigin: http://localhost:1\nSec-Fetch-Site: same-origin", 202),
        (b"\nOrigin: http://localhost:2", 403),
        (b"\nOrigin: http://localhost", 403),
        (b"\nOrigin: null", 403),
        (b"\nOrigin:", 403),
        (b"\nOrigin: localhost:1", 403),
        (b"\nOrigin: file://localhost:1", 403),
        (b"\nOrigin: http://localhost:1\nOrigin: http://localhost:1", 403),
        (b"\nOrigin: http://localhost:1\nOrigin: http://evil.example", 403),
        (b"\nOrigin: http://localhost:1, http://evil.example", 403),
        (b"\nOrigin: http://evil.example@localhost:1", 403),
        (b"\nOrigin: http://localhost:1@evil.example", 403),
        (b"\nOrigin: http://localhost:1/", 403),
        (b"\nOrigin: http://localhost:1.evil.example", 403),
        (b"\nOrigin: http://localhost:1\nSec-Fetch-Site: cross-site", 403),
        (b"\nSec-Fetch-Site: same-site", 403),
        (b"\nSec-Fetch-Site: Same-Origin, cross-site", 403),
        (b"\nSec-Fetch-Site: same-origin\nSec-Fetch-Site: cross-site", 403),
        (b"\nSec-Fetch-Site:", 403),
    ],
)
def test_a_page_of_another_site_changes_nothing(server: str, lines: bytes, status: int) -> None:
    head = b"POST /api/runs HTTP/1.1\nHost: localhost:1\nContent-Type: application/json\nContent-Length: %d" % len(RUN)
    answered, error = raw(server, head + lines, RUN)
    assert answered == status
    assert error.get("code") == (None if status == 202 else "foreign-origin")


@pytest.mark.parametrize(
    "path", ["/forget", "/lessons/hello-std/runs", "/lessons/hello-std/reset", "/api/runs/0", "/x"]
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH", "TRACE", "MOVE"])
def test_every_method_that_may_change_something_is_asked_where_it_comes_from(
    server: str, method: str, path: str
) -> None:
    answer = httpx.request(method, server + path, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /api/lessons HTTP/1.1\nHost: localhost" + b"\nX: y" * 101, 431, "headers-too-large"),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nX: " + b"y" * 17_000, 431, "headers-too-large"),
        (b"GET /api/lessons?" + b"y" * 9_000 + b" HTTP/1.1\nHost: localhost", 414, "address-too-long"),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nContent-Length: 5", 400, "unexpected-body"),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked", 400, "unexpected-body"),
        (b"GET /api/lessons HTTP/1.1\nHost: localhost\nContent-Length: 0", 200, None),
        (
            b"POST /api/runs HTTP/1.1\nHost: localhost\nContent-Length: 5\nTransfer-Encoding: chunked",
            400,
            "two-lengths",
        ),
        (b"POST /api/runs HTTP/1.1\nHost: localhost\nContent-Length: 99999999", 413, "body-too-large"),
        (b"POST /api/runs HTTP/1.1\nHost: localhost\nContent-Length: -1", 400, None),
        (b"POST /api/runs HTTP/1.1\nHost: localhost\nContent-Length: 5, 6", 400, None),
        (b"POST /api/runs HTTP/1.1\nHost: localhost\nTransfer-Encoding: gzip", 400, None),
    ],
)
def test_what_is_too_large_or_does_not_belong(server: str, head: bytes, status: int, code: str | None) -> None:
    answered, error = raw(server, head)
    assert (answered, error.get("code")) == (status, code)


@pytest.mark.parametrize(
    ("path", "caching"),
    [
        ("/", "no-store"),
        ("/lessons/hello-std", "no-store"),
        ("/api/lessons", "no-store"),
        ("/nothing", "no-store"),
        ("/static/css/site.css", "no-cache"),
        ("/static/vendor/htmx-4.0.1-sse.min.js", "public, max-age=31536000, immutable"),
    ],
)
def test_every_answer_has_the_headers(server: str, path: str, caching: str) -> None:
    headers = httpx.get(server + path).headers
    assert headers["cache-control"] == caching
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    if not path.startswith("/static/"):
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]


def test_a_stream_of_events_is_not_stored_either(server: str) -> None:
    path = httpx.post(f"{server}/api/runs", content=RUN, headers={"content-type": "application/json"}).json()["events"]
    assert httpx.get(server + path).headers["cache-control"] == "no-store"


def test_an_unknown_method_gets_the_list_of_allowed_ones(server: str) -> None:
    answer = httpx.put(f"{server}/api/runs")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.fixture
def strict(start_server: Callable[..., Server]) -> str:
    """A server with very low limits."""
    return start_server(
        PLAYGROUND_SEAT_RUNS="2/minute",
        PLAYGROUND_ADDRESS_RUNS="5/minute",
        PLAYGROUND_SEAT_CHANGES="1/minute",
        PLAYGROUND_SEAT_STREAMS="1/minute",
        PLAYGROUND_SEAT_READS="4/minute",
    ).url


def posts(client: httpx.Client, count: int) -> list[int]:
    body = json.loads(RUN)
    return [client.post("/api/runs", json=body, headers=FORWARDED).status_code for _ in range(count)]


def test_runs_are_limited_by_seat_and_by_address(strict: str) -> None:
    with seated(strict) as one, seated(strict) as other, httpx.Client(base_url=strict) as script:
        assert posts(one, 2) == [202, 202], "the seat's two"
        began = time.monotonic()
        assert posts(one, 7) == 7 * [429], "refused ones do not count for the address"
        assert time.monotonic() - began >= 7 * PAUSE, "who asks too often waits for each refusal"
        assert posts(other, 2) == [202, 202]
        assert posts(script, 2) == [202, 429], "the address's five"
        refused = script.post("/api/runs", json=json.loads(RUN), headers=FORWARDED)
        assert refused.json()["error"]["code"] == "too-often"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        elsewhere = script.post("/api/runs", json=json.loads(RUN), headers={"x-forwarded-for": "198.51.100.1"})
        assert elsewhere.status_code == 202
        assert script.post("/api/runs", json=json.loads(RUN)).status_code == 202, "this machine itself is exempt"


def test_posts_streams_and_pages_have_limits_of_their_own(strict: str) -> None:
    with seated(strict, headers=FORWARDED) as client:
        path = client.post("/api/runs", json=json.loads(RUN)).json()["events"]
        assert [client.get(path).status_code for _ in range(2)] == [200, 429]
        assert [client.post("/lessons/hello-std/reset").status_code for _ in range(2)] == [303, 429]
        assert [client.get("/lessons/hello-std").status_code for _ in range(5)] == [200] * 4 + [429], "not the first"
        assert client.get("/static/css/site.css").status_code == client.get("/healthz").status_code == 200
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "Try again in" in page.text
        fragment = client.post("/lessons/hello-std/reset", headers={"hx-request": "true"})
        assert fragment.status_code == 429
        assert "<html" not in fragment.text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of rates, as a list of one time that a test changes."""
    now = [1000.0]
    monkeypatch.setattr("app.web.guard.windows.time.monotonic", lambda: now[0])
    return now


def test_a_window_moves(settings: Settings, clock: list[float]) -> None:
    rates = Rates(settings.model_copy(update={"seat_runs": "2/1 second"}))
    scope = {"client": ("192.0.2.1", 1), "method": "POST", "path": "/api/runs"}
    for _ in range(2):
        rates.check(scope, "a")
    clock[0] += 0.9
    with pytest.raises(ProblemError):
        rates.check(scope, "a")
    clock[0] += 0.2
    rates.check(scope, "a")


@pytest.mark.parametrize(
    ("client", "who"),
    [
        (("127.0.0.1", 1), None),
        (("127.9.9.9", 1), None),
        (("::1", 1), None),
        (("::ffff:127.0.0.1", 1), None),
        (("192.0.2.1", 1), "192.0.2.1"),
        (("::ffff:192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:0db8:0001:0002"),
        (("fe80::1%eth0", 1), "fe80:0000:0000:0000"),
        (("not an address", 1), "unknown"),
    ],
)
def test_who_is_counted_as_one(client: tuple[str, int], who: str | None) -> None:
    assert address_of({"client": client, "headers": [(b"x-forwarded-for", b"127.0.0.1")]}) == who


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/api/runs", "runs"),
        ("POST", "/lessons/x/runs", "runs"),
        ("POST", "/import", "imports"),
        ("POST", "/runs/x/cancel", "changes"),
        ("DELETE", "/api/runs/x", "changes"),
        ("GET", "/api/runs/x/events", "streams"),
        ("GET", "/runs/x/events", "streams"),
        ("GET", "/runs/x/output", "streams"),
        ("GET", "/api/runs", "reads"),
        ("GET", "/static/x", None),
        ("GET", "/healthz", None),
    ],
)
def test_what_a_request_costs(method: str, path: str, expected: str | None) -> None:
    assert kind(method, path) == expected


def test_the_default_limits_fit_a_hundred_seats_behind_one_address(settings: Settings) -> None:
    rates = Rates(settings)
    for _ in range(8):
        for seat in range(100):
            for method, path in (("POST", "/lessons/x/runs"), ("GET", "/runs/x/events"), ("GET", "/lessons/x")):
                rates.check({"client": ("192.0.2.1", 1), "method": method, "path": path}, str(seat))


def test_an_address_may_import_progress_only_a_few_times_whatever_its_seats(settings: Settings) -> None:
    rates = Rates(settings)
    scope = {"client": ("192.0.2.1", 1), "method": "POST", "path": "/import"}
    for seat in range(30):
        rates.check(scope, str(seat))
    with pytest.raises(ProblemError, match="Too many imports of progress from your address"):
        rates.check(scope, "another")
    rates.check({**scope, "path": "/lessons/x/reset"}, "another")
    rates.check({**scope, "client": ("192.0.2.2", 1)}, "another")


@pytest.mark.parametrize("by", [-3600, 3600])
def test_a_clock_that_is_set_locks_no_seat_out(
    by: float, settings: Settings, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = Rates(settings.model_copy(update={"seat_reads": "1/1 second"}))
    scope = {"client": ("192.0.2.1", 1), "method": "GET", "path": "/"}
    rates.check(scope, "a")
    wall = time.time
    monkeypatch.setattr("time.time", lambda: wall() + by)
    with pytest.raises(ProblemError) as refused:
        rates.check(scope, "a")
    assert refused.value.retry_after == 1
    clock[0] += 1.05
    rates.check(scope, "a")


def test_an_invalid_rate_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYGROUND_SEAT_RUNS", "many")
    with pytest.raises(ValueError, match="write one such as 30/minute"):
        Settings()


@pytest.fixture
def hasty(start_server: Callable[..., Server]) -> str:
    return start_server(PLAYGROUND_REQUEST_SECONDS="1").url


@pytest.mark.parametrize("path", ["/api/runs", "/lessons/hello-std/runs"])
def test_a_body_that_drips_is_not_waited_for(hasty: str, path: str) -> None:
    parts = urlsplit(hasty)
    kinds = {"/api/runs": b"application/json"}
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as wire:
        kind_of = kinds.get(path, b"application/x-www-form-urlencoded")
        head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\n"
        wire.sendall(head % (path.encode(), kind_of))
        began = time.monotonic()
        wire.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - began < 20:
            wire.sendall(b" ")
            try:
                answer = wire.recv(65536)
            except TimeoutError:
                continue
    assert b" 408 " in answer
    assert within(5, began)


@pytest.mark.parametrize(
    ("origin", "sites", "sentence"),
    [
        ("https://rust.example", ["same-origin"], "changes Host: the page is at https://rust.example, but the request"),
        ("https://rust.example", [], "If both are this playground, a proxy before it changes Host"),
        ("https://rust.example", ["cross-site"], "A page of another site may not do this"),
        ("null", ["same-origin"], "drops Origin or sets another Referrer-Policy"),
        ("file://x", ["same-origin"], "the page is at another address"),
        ("https://" + "x" * 400, [], "A page at another address may not"),
        ("<b>x</b>", [], "A page at another address may not"),
    ],
)
def test_a_proxy_that_changes_the_host_is_named(origin: str, sites: list[str], sentence: str) -> None:
    with pytest.raises(ProblemError) as refused:
        check_origin(Host("backend", "8000"), [origin], sites)
    assert (refused.value.status, refused.value.code) == (403, "foreign-origin")
    assert sentence in refused.value.message
    assert "cross-site" in sites or origin == "null" or "backend:8000" in refused.value.message
    check_origin(Host("rust.example", None), ["https://rust.example"], ["same-origin"])
    check_origin(Host("backend", "8000"), [], ["same-origin"])


@pytest.mark.parametrize(
    ("kind", "agent", "further", "status"),
    [
        ("application/x-www-form-urlencoded", "Mozilla/5.0 (X11) Firefox/140.0", {}, 403),
        ("Multipart/Form-Data; boundary=x", "Mozilla/5.0 (X11) Firefox/140.0", {}, 403),
        ("text/plain", "Mozilla/5.0 (X11) Firefox/140.0", {}, 403),
        (
            "application/x-www-form-urlencoded",
            "Mozilla/5.0 (X11) Firefox/140.0",
            {"sec-fetch-site": "same-origin"},
            404,
        ),
        ("application/x-www-form-urlencoded", "curl/8.5.0", {}, 404),
        ("application/json", "Mozilla/5.0 (X11) Firefox/140.0", {}, 404),
    ],
)
def test_a_proxy_that_drops_origin_is_named(
    server: str, kind: str, agent: str, further: dict[str, str], status: int
) -> None:
    """Without Origin, a form of another site's page would look like a script's request."""
    headers = {"content-type": kind, "user-agent": agent, **further}
    answer = httpx.post(f"{server}/lessons/nowhere/reset", headers=headers, content=b"")
    assert answer.status_code == status
    assert ("A proxy before this playground drops Origin" in answer.text) == (status == 403)
