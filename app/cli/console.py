"""Print what set-up says: sentences stay, and progress shares one line on a terminal."""

import os
import shutil
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from app.toolchain import Passing, sparse

_CLEAR = "\r\x1b[K"


class Console:
    """Print lines to ``out``; use it as a context manager and call it with each line.

    On a terminal a progress line is replaced by the line after it. Elsewhere, or with ``verbose``, it is a line like
    any other, at most one in three seconds.
    """

    def __init__(self, out: TextIO, *, verbose: bool = bool(os.environ.get("V"))) -> None:
        self._out = out
        self._moves = out.isatty() and not verbose
        self._sparse = sparse(self._print)
        self._shown = False

    def __call__(self, line: str) -> None:
        """Print one line."""
        if not self._moves:
            self._sparse(line)
        elif isinstance(line, Passing):
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
