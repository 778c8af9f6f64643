"""The regular expressions of lessons and error classes.

They are searched for in untrusted output, on the server's event loop. RE2's time is linear in the length of the text
for every pattern, so crafted output cannot cause catastrophic backtracking. RE2 supports neither lookaround nor
backreferences (https://github.com/google/re2/wiki/Syntax).
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import re2
from pydantic import AfterValidator

_LINES = "(?m)"


def _readable(pattern: str) -> str:
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace").replace(_LINES, "")
        raise ValueError(f"`{pattern}` is no regular expression of RE2: {reason}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_readable)]
"""A regular expression in RE2 syntax, in which ``^`` and ``$`` match at the ends of each line."""


def found(pattern: str, text: str) -> bool:
    """Return True if the pattern matches somewhere in the text."""
    return _compiled(pattern).search(text.encode("utf-8", "replace")) is not None


def parts(pattern: str, text: str) -> Mapping[str, str] | None:
    """Return what the named groups ``(?P<name>…)`` of the first match hold; None without a match."""
    match = _compiled(pattern).search(text.encode("utf-8", "replace"))
    if match is None:
        return None
    groups: Mapping[bytes, bytes | None] = match.groupdict()
    return {name.decode(): value.decode("utf-8", "replace") for name, value in groups.items() if value is not None}


def part_names(pattern: str) -> frozenset[str]:
    """Return the names of the pattern's groups."""
    return frozenset(name.decode() for name in _compiled(pattern).groupindex)


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile((_LINES + pattern).encode(), options)
