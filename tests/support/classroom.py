"""A real ``playground class`` with its instructor's link, and learners over HTTP."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.server import Server, serving


@dataclass(frozen=True)
class ClassServer:
    """A server that holds a class; ``link`` is the instructor's, ``printed`` is what the command printed."""

    server: Server
    link: str
    printed: str

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def key(self) -> str:
        return self.link.partition("#")[2]


@contextmanager
def holding(data_dir: Path, *arguments: str, **variables: str) -> Iterator[ClassServer]:
    """Hold a class on a free port, as ``playground class`` with these arguments does."""
    words = ("class", "--port", "0", "--address", "127.0.0.1", *arguments)
    with serving(data_dir, None, words, **variables) as server:
        printed = server.printed
        assert server.process.stdout is not None
        while not (found := re.search(r"Instructor:\s+(\S+)", printed)):
            line = server.process.stdout.readline()
            assert line, f"the class did not begin but said {printed!r}"
            printed += line
        yield ClassServer(server, found[1], printed)


def entered(page: Page, held: ClassServer) -> None:
    """Open the instructor's link as a person does."""
    page.goto(held.link)
    expect(page.locator("#class-figures")).to_be_visible()
    assert held.key not in page.url


def playground(data_dir: Path, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``playground class …`` on the data of a class."""
    env = {"PLAYGROUND_DATA_DIR": str(data_dir), "PATH": "/usr/bin:/bin"}
    command = [str(program), "class", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
