"""Count the names that a file contains, within bounds."""

from app.course.crate import Mark

_MOST = 800
_LONGEST = 160


def shown(text: str) -> str:
    """Return an untrusted text in a form that can be shown: one line, shortened, without invisible characters."""
    line = "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


class Marks:
    """The names of what was found, each with its first line and how often it was found."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, name: str, line: int) -> None:
        """Count one more."""
        name = shown(name)
        if name in self._found:
            first, count = self._found[name]
            self._found[name] = (first, count + 1)
        elif len(self._found) < _MOST:
            self._found[name] = (line, 1)

    def all(self) -> tuple[Mark, ...]:
        """Return what was found, in the order in which it was found."""
        return tuple(Mark(name, line, count) for name, (line, count) in self._found.items())
