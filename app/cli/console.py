"""Print the output of set-up. On a terminal, progress is shown in one line."""

import os
import shutil
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from app.toolchain import TransientLine, sparse

_CLEAR = "\r\x1b[K"


class Console:
    """Prints lines to ``out``. Use it as a context manager and call it with each line.

    On a terminal, the next line replaces a progress line. Elsewhere, or with ``verbose``, progress lines are printed
    like others, but at most one in three seconds.
    """

    def __init__(self, out: TextIO, *, verbose: bool = bool(os.environ.get("V"))) -> None:
        self._out = out
        self._replaces = out.isatty() and not verbose
        self._sparse = sparse(self._print)
        self._shown = False

    def __call__(self, line: str) -> None:
        """Print one line."""
        if not self._replaces:
            self._sparse(line)
        elif isinstance(line, TransientLine):
            # A line that wraps could not be cleared again.
            self._write(f"{_CLEAR}{line[: shutil.get_terminal_size().columns - 1]}")
            self._shown = True
        else:
            self._clear()
            self._print(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._clear()

    def _clear(self) -> None:
        if self._shown:
            self._write(_CLEAR)
            self._shown = False

    def _print(self, line: str) -> None:
        self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
