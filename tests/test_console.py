"""Set-up updates one line on a terminal, and prints occasional lines elsewhere."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from app.cli.console import Console
from app.toolchain import TransientLine, sparse
from app.toolchain.progress import progress

PROGRAM = str(Path(sys.executable).with_name("playground"))
ROOT = Path(__file__).parent.parent
INTERRUPTED_AT_ONCE = """
import os, signal
from app.cli.server import serve_forever
from app.settings import Settings

try:
    serve_forever(Settings(port=0), announce=lambda port: os.kill(os.getpid(), signal.SIGINT))
except KeyboardInterrupt:
    print("interrupted")
"""


class Terminal(io.StringIO):
    """A file that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def said(out: io.StringIO, *lines: str, verbose: bool = False) -> str:
    with Console(out, verbose=verbose) as say:
        for line in lines:
            say(line)
    return out.getvalue()


def test_on_a_terminal_progress_moves_in_one_line_and_sentences_stay() -> None:
    shown = said(Terminal(), "Installing a", TransientLine("  unpacking a"), TransientLine("  setting up a"), "Ready.")
    assert shown == "Installing a\n\r\x1b[K  unpacking a\r\x1b[K  setting up a\r\x1b[KReady.\n"


def test_a_moving_line_is_cleared_at_the_end_and_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert said(Terminal(), TransientLine("  " + 40 * "x")) == f"\r\x1b[K  {17 * 'x'}\r\x1b[K"


@pytest.mark.parametrize(("out", "verbose"), [(io.StringIO(), False), (Terminal(), True)], ids=["file", "V=1"])
def test_elsewhere_each_is_a_line_and_few_of_them_are_progress(out: io.StringIO, *, verbose: bool) -> None:
    shown = said(
        out, "Installing a", TransientLine("  unpacking a"), TransientLine("  setting up a"), "Ready.", verbose=verbose
    )
    assert shown == "Installing a\n  unpacking a\nReady.\n"


def test_progress_is_passed_on_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((100.0, 102.9, 103.0))
    monkeypatch.setattr("app.toolchain.progress.time.monotonic", lambda: next(times))
    lines: list[str] = []
    say = sparse(lines.append)
    for text in ("one", "two", "three"):
        say(TransientLine(text))
    assert lines == ["one", "three"]


@pytest.mark.anyio
async def test_work_that_says_nothing_shows_a_sign_of_life_each_second() -> None:
    lines: list[str] = []
    beaten = anyio.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            beaten.set()

    async with progress(say) as shown:
        shown.step("compiling core")
        with anyio.fail_after(30):
            await beaten.wait()
    assert all(isinstance(line, TransientLine) for line in lines)
    assert lines[0] == "  compiling core"
    assert lines[1].startswith("  compiling core, ")


@pytest.mark.parametrize(
    "command",
    [[PROGRAM, "serve", "--port", "0"], ["make", "-s", "run", "PORT=0"]],
    ids=["playground", "make"],
)
def test_an_interrupt_ends_the_server_even_where_the_shell_has_it_ignored(command: list[str], tmp_path: Path) -> None:
    """POSIX shells start background jobs, such as ``make run &`` in a script, with SIGINT ignored."""
    env = os.environ | {"PLAYGROUND_DATA_DIR": str(tmp_path / "data"), "PLAYGROUND_SCRATCH_DIR": str(tmp_path / "runs")}
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    process = subprocess.Popen(
        ignoring, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout
        assert any("http://" in line for line in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode in (0, 130, -signal.SIGINT), errors
        assert "Traceback" not in errors
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def test_an_interrupt_right_after_the_address_waits_until_the_server_can_end_in_order(tmp_path: Path) -> None:
    folders = {"PLAYGROUND_DATA_DIR": str(tmp_path / "data"), "PLAYGROUND_SCRATCH_DIR": str(tmp_path / "runs")}
    env = os.environ | folders | {"PLAYGROUND_LOG_FORMAT": "json"}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_ONCE],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "The playground has stopped" in done.stdout
    assert done.stdout.endswith("interrupted\n")
    assert done.stderr == ""
