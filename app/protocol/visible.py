"""Untrusted text in a form that can be shown or compared."""

import re

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def visible(name: str) -> str:
    """Return a name with U+FFFD for each invisible character, such as a control or a direction mark."""
    return name if name.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in name)


def plain(text: str) -> str:
    """Return the text without ANSI sequences."""
    return _ANSI.sub("", text)
