"""Real proxies with the shipped configurations: TLS, a path prefix, unbuffered streams."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from tests.support.classroom import open_class
from tests.support.clients import seat_of
from tests.support.polling import eventually
from tests.support.ports import free_port
from tests.support.server import Server

DEPLOY = Path(__file__).parent.parent / "deploy"
TICKING = """use std::io::Write;
fn main() {
    for second in 0..4 {
        println!("tick {second}");
        std::io::stdout().flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}
"""


def address_of(server: Server) -> str:
    """Return host and port of a URL."""
    return server.url.split("/")[2]


@contextmanager
def running(command: list[str], url: str, **options: object) -> Iterator[None]:
    """Run a proxy and wait until it answers."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as proxy:  # type: ignore[call-overload]  # options of several types
        try:
            assert eventually(lambda: answers(url) or proxy.poll() is not None, 30), f"{command[0]} does not answer"
            assert proxy.poll() is None, f"{command[0]} has ended"
            yield
        finally:
            proxy.terminate()


def answers(url: str) -> bool:
    """Return True if a server answers there."""
    with suppress(httpx.TransportError):
        return httpx.get(url, verify=False).status_code > 0
    return False


@contextmanager
def caddy(server: Server, folder: Path, root: str) -> Iterator[str]:
    """Run Caddy with the shipped Caddyfile and its own certificate, below the path ``root`` if given."""
    port = free_port()
    text = (DEPLOY / "Caddyfile").read_text()
    text = text.replace("reverse_proxy {", f"reverse_proxy {root}/* {{") if root else text
    options = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tlocal_certs\n}\n"
    (folder / "Caddyfile").write_text(options + text)
    variables = {"SITE": f"localhost:{port}", "PLAYGROUND": address_of(server), "HOME": str(folder)}
    url = f"https://localhost:{port}"
    with running(
        ["caddy", "run", "--config", str(folder / "Caddyfile")], url, env=variables | {"PATH": "/usr/bin:/bin"}
    ):
        yield url


@contextmanager
def nginx(server: Server, folder: Path, root: str) -> Iterator[str]:
    """Run nginx with the shipped configuration, without TLS."""
    text = (DEPLOY / "nginx.conf").read_text().replace("127.0.0.1:8000", address_of(server))
    text = text.replace("location / {", f"location {root}/ {{") if root else text
    with _nginx(folder, text) as url:
        yield url


@contextmanager
def _nginx(folder: Path, text: str) -> Iterator[str]:
    port = free_port()
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/log; events {{}} "
        f"http {{ access_log off; {folders} server {{ listen 127.0.0.1:{port}; {text} }} }}"
    )
    url = f"http://localhost:{port}"
    with running(["nginx", "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")], url):
        yield url


PROXIES = {"caddy": caddy, "nginx": nginx}


@pytest.mark.parametrize("root", ["", "/course/rust"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_passes_on_pages_runs_and_streams(
    proxy: str, root: str, start_server: Callable[..., Server], open_folder: Path
) -> None:
    if shutil.which(proxy) is None:
        pytest.skip(f"there is no {proxy}; tools/test-tools installs it")
    server = start_server(PLAYGROUND_ROOT_PATH=root)
    open_folder.chmod(0o755)
    with (
        PROXIES[proxy](server, open_folder, root) as url,
        httpx.Client(base_url=f"{url}{root}", verify=False, timeout=60) as client,
    ):
        first = client.get("/")
        assert first.status_code == 200
        assert f"Path={root or '/'};" in first.headers["set-cookie"]
        assert ("; Secure" in first.headers["set-cookie"]) == url.startswith("https")
        style = re.findall(r'href="([^"]+\.css)"', first.text)[0]
        assert client.get(f"{url}{style}").status_code == 200
        wanted = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": TICKING}}
        accepted = client.post("/api/runs", json=wanted, headers={"origin": url})
        assert accepted.status_code == 202, accepted.text
        assert span_of_ticks(client, f"{url}{accepted.json()['events']}") > 0.5
        assert client.post("/api/runs", json=wanted, headers={"origin": "https://elsewhere"}).status_code == 403


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_class_is_held_behind_a_proxy(
    proxy: str, start_server: Callable[..., Server], open_folder: Path, tmp_path: Path
) -> None:
    if shutil.which(proxy) is None:
        pytest.skip(f"there is no {proxy}; tools/test-tools installs it")
    root, key = "/course/rust", "0123456789abcdefABCDEF"
    server = start_server(PLAYGROUND_ROOT_PATH=root)
    open_folder.chmod(0o755)
    with PROXIES[proxy](server, open_folder, root) as url:
        anyio.run(open_class, tmp_path / "data", f"{url}{root}", key)
        browser = partial(httpx.Client, base_url=f"{url}{root}", verify=False, timeout=60, headers={"origin": url})
        with browser() as learner, browser() as instructor, browser() as device:
            while learner.get("/class/me").status_code == 404:  # the server looks for a class once a second
                time.sleep(0.1)
            assert learner.post("/class/join", data={"name": "Ada"}).headers["location"] == f"{root}/"
            cookie = instructor.post("/class/enter", data={"key": key}).headers["set-cookie"]
            assert f"Path={root};" in cookie
            assert ("; Secure" in cookie) == url.startswith("https")
            assert f"{url}{root}" in instructor.get("/class/wall").text
            with instructor.stream("GET", "/class/events") as stream:
                lines = stream.iter_lines()
                assert any("Ada" in line for line in lines)
                learner.post("/class/hand", data={"raised": "1"})
                assert any('<b class="mark">hand</b>' in line for line in lines)  # at once, not when the stream ends
            [link] = re.findall(r"<code>(\S+/seat/[\w-]+)</code>", learner.post("/class/seat").text)
            assert link.startswith(f"{url}{root}/seat/")
            device.post(link)
            assert seat_of(device.cookies) == seat_of(learner.cookies)


def nginx_with(server: Server, folder: Path, *lines: str) -> AbstractContextManager[str]:
    """Run nginx with a configuration that passes everything on and has these lines besides."""
    location = f"location / {{ proxy_pass http://{address_of(server)}; {' '.join(lines)} }}"
    return _nginx(folder, location)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "A proxy before this playground changes Host: the page is at"),
        (("proxy_set_header Host $http_host;", 'proxy_set_header Origin "";'), "drops Origin"),
    ],
)
def test_a_proxy_that_changes_host_or_drops_origin_is_named(
    lines: tuple[str, ...], words: str, start_server: Callable[..., Server], open_folder: Path
) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("there is no nginx; tools/test-tools installs it")
    server = start_server()
    open_folder.chmod(0o755)
    with nginx_with(server, open_folder, *lines) as url, httpx.Client(base_url=url) as client:
        assert client.get("/").status_code == 200, "a page is shown"
        # As a browser: it says which site a page belongs to, but not over plain HTTP.
        site = {} if lines else {"sec-fetch-site": "same-origin"}
        headers = {"origin": url, "user-agent": "Mozilla/5.0", **site}
        refused = client.post("/lessons/hello-std/runs", data={"command": "cargo build"}, headers=headers)
        assert refused.status_code == 403
        assert words in refused.text


def span_of_ticks(client: httpx.Client, address: str) -> float:
    """Return the seconds between the arrivals of the run's first and last ticks; on a busy machine some come together.

    A proxy that keeps a stream back delivers all of them at its end.
    """
    with client.stream("GET", address) as stream:
        seen = [time.monotonic() for line in stream.iter_lines() if '"text":"tick' in line]
    return seen[-1] - seen[0]


@pytest.mark.parametrize(("trusted", "limited"), [('["127.0.0.1"]', True), ('["192.0.2.7"]', False)])
def test_a_forwarded_address_counts_only_from_a_trusted_proxy(
    trusted: str, limited: bool, start_server: Callable[..., Server]
) -> None:
    server = start_server(PLAYGROUND_TRUSTED_PROXIES=trusted, PLAYGROUND_ADDRESS_READS="3/minute")
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    answers = [httpx.get(server.url, headers=headers) for _ in range(5)]
    # Local clients are exempt, and only a trusted proxy can name a remote client.
    assert (answers[-1].status_code == 429) == limited
    assert ("; Secure" in answers[0].headers["set-cookie"]) == limited
