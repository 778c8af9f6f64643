"""Real ``playground serve`` processes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.forked import Forked


class Server:
    """A real ``playground serve`` process."""

    def __init__(self, process: subprocess.Popen[str] | Forked, url: str, printed: str = "") -> None:
        self.process = process
        self.url = url
        self.printed = printed

    def send(self, how: signal.Signals) -> None:
        """Send the server a signal."""
        self.process.send_signal(how)

    def wait(self) -> int:
        """Wait for the server to end, and return its exit code."""
        return self.process.wait(timeout=30)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal the server, wait for it to end, and return its exit code."""
        self.send(how)
        return self.wait()


def a_normal_user() -> int:
    """Return the id of a user without files or processes here; skip the test unless root runs it."""
    if os.getuid() != 0:
        pytest.skip("only root can start a server as another user")
    return 50_000 + os.getpid() % 10_000


SERVE = ("serve", "--port", "0")
"""The arguments that start a server on a free port."""

_AS_USER = """set -e
if [ -n "$closed" ]; then
    kept=$(mktemp -d)
    for name in $names; do
        eval "folder=\\$$name"
        mkdir "$kept/$name"
        mount --bind "$folder" "$kept/$name"
    done
    mount -t tmpfs -o mode=711 none "$closed"
    for name in $names; do
        eval "folder=\\$$name"
        mkdir -p "$folder"
        mount --bind "$kept/$name" "$folder"
        umount "$kept/$name"
        rmdir "$kept/$name"
    done
    rmdir "$kept"
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"""
"""Mounts Python and the checkout for a normal user if they are in root's home, without opening the rest of it."""

_CHECKOUT = Path(__file__).resolve().parents[2]


def _as_user(user: int) -> tuple[list[str], dict[str, str]]:
    needed = {"python": Path(sys.base_prefix).resolve(), "checkout": _CHECKOUT}
    closed = {name: _closed_above(folder) for name, folder in needed.items()}
    tops = {str(above) for above in closed.values() if above}
    assert len(tops) <= 1, f"{tops} are closed; only one such folder can be opened here"
    names = " ".join(name for name, above in closed.items() if above)
    words = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _AS_USER, "sh"]
    given = {"user": str(user), "names": names, "closed": "".join(tops)}
    return words, given | {name: str(folder) for name, folder in needed.items()}


def _closed_above(folder: Path) -> Path | None:
    """Return the topmost parent folder that other users cannot pass."""
    return next((above for above in reversed(folder.parents) if not above.stat().st_mode & 0o001), None)


def _started(arguments: Sequence[str], env: Mapping[str, str], user: int | None) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("playground")), *arguments]
    if user is not None:
        words, given = _as_user(user)
        command, env = [*words, *command], {**env, **given}
    else:
        # An interrupt of `make test` kills the test processes, which cannot stop their servers then.
        command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)


@contextmanager
def serving(
    data_dir: Path,
    user: int | None = None,
    arguments: Sequence[str] = SERVE,
    forked: bool = True,
    /,
    **variables: str,
) -> Iterator[Server]:
    """Run a server on a free port with these environment variables, and kill it at the end.

    With ``user`` it runs as that user, who must own the folder above ``data_dir``. ``arguments`` are those of the
    command ``playground``. It is forked from a process that has imported the program, unless it runs as another user or
    ``forked`` is False: then the installed command is started.
    """
    scratch = data_dir.with_name("scratch")
    folders = {"PLAYGROUND_DATA_DIR": str(data_dir), "PLAYGROUND_SCRATCH_DIR": str(scratch)}
    env = os.environ | folders | variables
    # pytest's folders are private, but if root runs the tests, the users of runs must be able to enter them.
    for folder in (scratch.parent, *scratch.parent.parents):
        if folder.stat().st_uid == os.getuid() and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o011)
    process = Forked(arguments, env) if forked and user is None else _started(arguments, env, user)
    try:
        assert process.stdout is not None
        printed = ""
        while not (found := re.search(r"http://\S+[^/\s]", printed)):
            line = process.stdout.readline()
            assert line, f"the server did not say its address but {printed!r}"
            printed += line
        yield Server(process, found[0].rstrip("/"), printed)
    finally:
        if "COVERAGE_PROCESS_CONFIG" in os.environ:  # a killed server cannot write what was measured in it
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
