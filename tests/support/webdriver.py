"""Firefox and WebKitGTK, driven by WebDriver's commands without a client library.

Debian has no geckodriver, and Selenium would download one. Firefox itself understands the same commands over a socket,
by the protocol Marionette, which is all that geckodriver speaks to it. WebKitGTK's driver takes them over HTTP.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests.support.ports import free_port

CONTROL, HOME, ENTER = "\ue009", "\ue011", "\ue007"
"""Keys, by WebDriver's names for them. ``CONTROL`` is held for the rest of the text."""

_MINI_BROWSER = "/usr/lib/{}/webkit2gtk-4.1/MiniBrowser"
_PATIENCE = 30.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# The commands by WebDriver's names, which Marionette uses, with their paths in WebDriver's HTTP.
_PATHS = {
    "NewSession": "",
    "Navigate": "/url",
    "Refresh": "/refresh",
    "ExecuteScript": "/execute/sync",
    "FindElement": "/element",
    "ElementClick": "/element/{id}/click",
    "ElementSendKeys": "/element/{id}/value",
}


class WebDriverError(Exception):
    """The browser answered a command with an error."""


class _Wire(Protocol):
    """The way to a browser: sends one of the commands in ``_PATHS``, and returns the answer."""

    def send(self, command: str, parameters: Mapping[str, Any]) -> Any: ...


class Browser:
    """A browser with one window. ``name`` has its version."""

    def __init__(self, wire: _Wire, name: str) -> None:
        self._wire = wire
        self.name = name

    def open(self, url: str) -> None:
        self._wire.send("Navigate", {"url": url})

    def reload(self) -> None:
        self._wire.send("Refresh", {})

    def script(self, body: str, *values: Any) -> Any:
        """Return the result of a function's body, whose arguments are ``values``."""
        return self._wire.send("ExecuteScript", {"script": body, "args": list(values)})

    def click(self, selector: str) -> None:
        """Click the first element that is in the page, as a mouse would."""
        self._wire.send("ElementClick", {"id": self._find(selector)})

    def type(self, selector: str, keys: str) -> None:
        self._wire.send("ElementSendKeys", {"id": self._find(selector), "text": keys})

    def text(self, selector: str) -> str:
        """Return the visible text of the first such element; empty if there is none."""
        return str(self.script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait_for(self, selector: str, text: str = "") -> None:
        """Wait until the first such element contains the text."""
        end = time.monotonic() + _PATIENCE
        while not self.script("return !!document.querySelector(arguments[0])", selector) or not re.search(
            text, self.text(selector)
        ):
            assert time.monotonic() < end, f"{self.name}: no {text!r} in {selector}, but {self.text(selector)!r}"
            time.sleep(0.1)

    def _find(self, selector: str) -> str:
        found = self._wire.send("FindElement", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])


class _Marionette:
    """Firefox's socket: messages are JSON after their length."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._stream = self._socket.makefile("rb")
        self._ids = count(1)
        self._read()  # its greeting

    def send(self, command: str, parameters: Mapping[str, Any]) -> Any:
        message = json.dumps([0, next(self._ids), f"WebDriver:{command}", dict(parameters)]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, _, error, result = self._read()
        if error:
            raise WebDriverError(error)
        return result["value"] if set(result) == {"value"} else result

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _read(self) -> Any:
        length = b""
        while (digit := self._stream.read(1)) != b":":
            assert digit, "Firefox closed the connection"
            length += digit
        return json.loads(self._stream.read(int(length)))


class _OverHttp:
    """A session of WebDriver over HTTP."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._session = "/session"

    def send(self, command: str, parameters: Mapping[str, Any]) -> Any:
        path = self._session + _PATHS[command].format(**parameters)
        answer = self._client.post(path, json=dict(parameters)).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise WebDriverError(answer)
        if command == "NewSession":
            self._session = f"/session/{answer['sessionId']}"
        return answer

    def close(self) -> None:
        self._client.delete(self._session)
        self._client.close()


@contextmanager
def firefox(folder: Path) -> Iterator[Browser]:
    """Start Debian's Firefox without a window, with a new profile in this folder."""
    program = _program("firefox-esr", "firefox-esr")
    (folder / "user.js").write_text('user_pref("marionette.port", 0);\n')
    command = [program, "--headless", "--marionette", "--no-remote", "--width=1280", "--height=800"]
    with _running([*command, "--profile", str(folder)], folder):
        port = _eventually(lambda: (folder / "MarionetteActivePort").read_text().strip())
        with closing(_Marionette(int(port))) as wire:
            session = wire.send("NewSession", {})
            yield Browser(wire, f"Firefox {session['capabilities']['browserVersion']}")


@contextmanager
def webkit(folder: Path) -> Iterator[Browser]:
    """Start WebKitGTK's own small browser on a screen in memory."""
    driver, screen = _program("WebKitWebDriver", "webkit2gtk-driver"), _program("Xvfb", "xvfb")
    browser = next(
        (found for each in os.listdir("/usr/lib") if os.path.exists(found := _MINI_BROWSER.format(each))), ""
    )
    if not browser:
        pytest.skip("no MiniBrowser of WebKitGTK 4.1 here; apt-get install webkit2gtk-driver")
    display = folder / "display"
    with display.open("wb") as told:
        words = [screen, "-displayfd", str(told.fileno()), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
        with _running(words, folder, keep=told.fileno()):
            number = _eventually(lambda: display.read_text().strip())
            port = free_port()
            # As root, the user of most containers, WebKit does not start with its sandbox.
            env = {"DISPLAY": f":{number}", "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
            with _running([driver, f"--port={port}"], folder, env):
                client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=2 * _PATIENCE)
                _eventually(lambda: client.get("/status").text)
                options = {"binary": browser, "args": ["--automation"]}
                with closing(_OverHttp(client)) as wire:
                    wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
                    session = wire.send("NewSession", wanted)
                    yield Browser(wire, f"WebKitGTK {session['capabilities']['browserVersion']}")


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"no {name} here; apt-get install {package}")
    return found


@contextmanager
def _running(
    command: list[str], home: Path, env: Mapping[str, str] | None = None, keep: int | None = None
) -> Iterator[None]:
    """Run a program and whatever it starts until the block ends."""
    given = os.environ | {"HOME": str(home)} | dict(env or {})
    quiet = subprocess.DEVNULL
    kept = () if keep is None else (keep,)
    with subprocess.Popen(
        command, env=given, pass_fds=kept, start_new_session=True, stdout=quiet, stderr=quiet
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, 15)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)


def _eventually(find: Any) -> str:
    """Return the first text that ``find`` returns without an error."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            found = str(find())
        except (OSError, httpx.HTTPError):
            found = ""
        if found:
            return found
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.1)
