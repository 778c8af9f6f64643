"""Hosts: parsing them, and the names and addresses of this machine."""

import socket
from collections.abc import Callable
from contextlib import nullcontext
from ipaddress import ip_address

import httpx
import pytest

from app.cli.server import addresses_of
from app.settings import Settings
from app.settings.hosts import implied_hosts, interface_addresses, listens_everywhere, parse_listed_host
from app.web.guard.hosts import Hosts
from app.web.problem import ProblemError
from tests.support.server import Server


@pytest.mark.parametrize(
    "text", ["localhost", "Rust.example.org", "rust.example.org:8443", "127.0.0.1", "::1", "[::1]:80"]
)
def test_an_operator_may_list_a_name_or_an_address(text: str) -> None:
    assert parse_listed_host(text)


@pytest.mark.parametrize(
    "text", ["", "*", "*.example.org", "http://a.example", "a b", "a/b", "1.2.3", "2130706433", "[:::]"]
)
def test_what_no_browser_asks_for_is_not_a_host(text: str) -> None:
    assert parse_listed_host(text) is None


def test_an_address_implies_itself_and_every_address_the_names_of_the_machine() -> None:
    name = socket.gethostname().lower()
    assert implied_hosts("192.168.1.5") == ("192.168.1.5",)
    assert set(implied_hosts("0.0.0.0")) == {name, f"{name.removesuffix('.local')}.local"}
    assert listens_everywhere("::")
    assert not listens_everywhere("localhost")


def test_addresses_of_interfaces_are_those_that_others_can_reach() -> None:
    for each in interface_addresses():
        found = ip_address(each.strip("[]"))
        assert not found.is_loopback
        assert not found.is_link_local


def test_the_printed_addresses_are_those_that_answer(settings: Settings) -> None:
    one = settings.model_copy(update={"host": "192.168.1.5", "root_path": "/rust"})
    assert addresses_of(one, 8000) == ["http://192.168.1.5:8000/rust/"]
    every = settings.model_copy(update={"host": "0.0.0.0"})
    assert addresses_of(every, 80) == [f"http://{host}:80/" for host in (*interface_addresses(), "localhost")]


NAME = socket.gethostname().lower().removesuffix(".local")
FORMS = [
    # PLAYGROUND_HOST, PLAYGROUND_ALLOWED_HOSTS, the request's Host, this machine's address of the connection, answered
    ("127.0.0.1", "localhost,127.0.0.1,[::1]", "localhost:8000", "127.0.0.1", True),
    ("127.0.0.1", "localhost,127.0.0.1,[::1]", "LOCALHOST", "127.0.0.1", True),
    ("127.0.0.1", "localhost,127.0.0.1,[::1]", "[::1]:8000", "::1", True),
    ("127.0.0.1", "localhost,127.0.0.1,[::1]", "[0:0::1]:8000", "::1", False),
    ("127.0.0.1", "localhost,127.0.0.1,[::1]", "192.168.1.5:8000", "127.0.0.1", False),
    ("192.168.1.5", "localhost", "192.168.1.5:8000", "192.168.1.5", True),
    ("192.168.1.5", "localhost", "192.168.1.6", "192.168.1.5", False),
    ("192.168.1.5", "localhost", "evil.example", "192.168.1.5", False),
    ("fd00::5", "localhost", "[fd00::5]:8000", "fd00::5", True),
    ("fd00::5", "localhost", "[fd00::6]", "fd00::5", False),
    ("rust.local", "localhost", "rust.local", "192.168.1.5", True),
    ("0.0.0.0", "localhost", "10.1.2.3:8000", "10.1.2.3", True),
    ("0.0.0.0", "localhost", "10.1.2.4", "10.1.2.3", False),
    ("0.0.0.0", "localhost", "localhost:8000", "127.0.0.1", True),
    ("0.0.0.0", "localhost", "0.0.0.0:8000", "127.0.0.1", False),
    ("0.0.0.0", "localhost", f"{NAME}:8000", "10.1.2.3", True),
    ("0.0.0.0", "localhost", f"{NAME}.local", "10.1.2.3", True),
    ("0.0.0.0", "localhost", f"{NAME}.evil.example", "10.1.2.3", False),
    ("::", "localhost", "10.1.2.3", "::ffff:10.1.2.3", True),
    ("::", "localhost", "[fe80::1]", "fe80::1%eth0", True),
    ("::", "localhost", "[fd00::5]", "fd00::5", True),
    ("::", "localhost", "evil.example", "fd00::5", False),
    ("127.0.0.1", "rust.example.org", "rust.example.org", "127.0.0.1", True),
    ("127.0.0.1", "rust.example.org", "rust.example.org:8443", "127.0.0.1", True),
    ("127.0.0.1", "rust.example.org:8443", "rust.example.org:8443", "127.0.0.1", True),
    ("127.0.0.1", "rust.example.org:8443", "rust.example.org", "127.0.0.1", False),
    ("127.0.0.1", "rust.example.org", "www.rust.example.org", "127.0.0.1", False),
    ("127.0.0.1", "rust.example.org", "rust.example.org.", "127.0.0.1", True),
    ("127.0.0.1", "fd00::7", "[fd00::7]:8000", "127.0.0.1", True),
    ("127.0.0.1", "[fd00::7]:8443", "[fd00::7]", "127.0.0.1", False),
]


@pytest.mark.parametrize(("listen_on", "allowed", "host", "reached_at", "answered"), FORMS)
def test_every_form_of_host_is_answered_or_refused(
    listen_on: str, allowed: str, host: str, reached_at: str, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAYGROUND_HOST", listen_on)
    monkeypatch.setenv("PLAYGROUND_ALLOWED_HOSTS", allowed)
    settings = Settings()
    hosts = Hosts((*settings.allowed_hosts, *implied_hosts(settings.host)))
    with nullcontext() if answered else pytest.raises(ProblemError, match="PLAYGROUND_ALLOWED_HOSTS"):
        hosts.check([host], reached_at if listens_everywhere(settings.host) else None)


def asked(server: Server, address: str, host: str) -> httpx.Response:
    """Ask the server at an address under a host."""
    port = server.url.rpartition(":")[2]
    return httpx.get(f"http://{address}:{port}/api/lessons", headers={"host": host})


def test_a_server_answers_to_the_address_that_it_is_told_to_listen_on(start_server: Callable[..., Server]) -> None:
    server = start_server(PLAYGROUND_HOST="127.0.0.2")
    assert server.url.startswith("http://127.0.0.2:")
    assert httpx.get(f"{server.url}/api/lessons").status_code == 200
    assert asked(server, "127.0.0.2", "127.0.0.3").status_code == 400


def test_a_server_on_every_interface_answers_to_this_machine_and_names_the_host_that_it_refuses(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(PLAYGROUND_HOST="0.0.0.0")
    assert asked(server, "127.0.0.3", "127.0.0.3:1").status_code == 200
    assert asked(server, "127.0.0.3", f"{socket.gethostname()}.local").status_code == 200
    assert asked(server, "127.0.0.3", "127.0.0.4").status_code == 400
    refused = asked(server, "127.0.0.3", "evil.example").json()["error"]["message"]
    assert "evil.example" in refused
    assert "PLAYGROUND_ALLOWED_HOSTS" in refused
