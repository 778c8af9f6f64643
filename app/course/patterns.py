"""The regular expressions of lessons and error classes.

The server's event loop searches untrusted output for them. RE2's time is linear in the length of the text
for every pattern, so crafted output cannot cause catastrophic backtracking. RE2 supports neither lookaround nor
backreferences (https://github.com/google/re2/wiki/Syntax).
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

import re2
from pydantic import AfterValidator

_LINES = "(?m)"


def _validate(pattern: str) -> str:
    try:
        _compiled(pattern)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace").replace(_LINES, "")
        raise ValueError(f"`{pattern}` is not a regular expression that RE2 accepts: {reason}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_validate)]
"""A regular expression in RE2 syntax, in which ``^`` and ``$`` match at the ends of each line."""


def matches(pattern: str, text: str) -> bool:
    """Return True if the pattern matches somewhere in the text."""
    return _compiled(pattern).search(text.encode("utf-8", "replace")) is not None


def named_groups(pattern: str, text: str) -> Mapping[str, str] | None:
    """Return the text of each named group ``(?P<name>…)`` in the first match, or None without a match."""
    match = _compiled(pattern).search(text.encode("utf-8", "replace"))
    if match is None:
        return None
    groups: Mapping[bytes, bytes | None] = match.groupdict()
    return {name.decode(): value.decode("utf-8", "replace") for name, value in groups.items() if value is not None}


def group_names(pattern: str) -> frozenset[str]:
    """Return the names of the pattern's groups."""
    return frozenset(name.decode() for name in _compiled(pattern).groupindex)


@cache
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile((_LINES + pattern).encode(), options)
