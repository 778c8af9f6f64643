"""A TOML file as facts: its keys, its values, or the fault that stops its reading."""

import json
import tomllib
from collections.abc import Iterator
from datetime import date, time
from typing import Any

from app.course.crate import Fault, Table
from app.course.crate.marks import Marks, shown

_AT = " (at line "
_QUOTES = ("'", '"')


def read_table(text: str) -> Table:
    """Return the facts of a TOML file."""
    try:
        content = tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        return _faulty(text, str(error))
    except RecursionError:
        return Table(fault="other")
    lines = _lines(text)
    marks = Marks()
    for path, name in _names(content):
        marks.add(name, lines.get(path, 0))
    return Table(marks.all())


def _names(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key with its tables, ``profile.dev.panic``, and with its value: ``profile.dev.panic = "abort"``.

    Before each stands the key alone. A table of an array is ``bin[]``. Of a list each value counts.
    """
    waiting: list[tuple[str, Any]] = [("", content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if path:
                yield path, path
            waiting += [(f"{path}.{_key(key)}" if path else _key(key), each) for key, each in reversed(value.items())]
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            waiting += [(f"{path}[]", each) for each in reversed(value)]
        else:
            yield path, path
            for each in value if isinstance(value, list) else [value]:
                yield path, f"{path} = {_value(each)}"


def _key(key: str) -> str:
    return f"'{key}'" if "." in key or "(" in key or " " in key else key


def _value(value: Any) -> str:
    if isinstance(value, date | time):
        return str(value)
    return json.dumps(value, ensure_ascii=False, default=str) if not isinstance(value, dict | list) else "…"


def _lines(text: str) -> dict[str, int]:
    """Return where keys and tables stand, as far as they stand at the beginning of a line of their own."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), 1):
        code = line.strip()
        if code.startswith("[["):
            table = code[2:].partition("]")[0].strip() + "[]"
            found.setdefault(table, number)
        elif code.startswith("["):
            table = code.partition("#")[0].strip()[1:].removesuffix("]").strip().replace('"', "'")
            if "cfg(" in code:
                table = f"{table.partition('.')[0]}.'{code.partition('.')[2].strip().strip(']').strip()[1:-1]}'"
            found.setdefault(table, number)
        elif "=" in code and not code.startswith("#"):
            key = code.partition("=")[0].strip()
            found.setdefault(f"{table}.{key}" if table else key, number)
    return found


def _faulty(text: str, message: str) -> Table:
    said, _, place = message.partition(_AT)
    lines = text.split("\n")
    number = int(place.partition(",")[0]) if place[:1].isdecimal() else len(lines)
    number = _opened(lines[:number]) or number
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return Table(fault=_fault(line, said), line=number, text=shown(line))


def _opened(lines: list[str]) -> int:
    """Return the number of the line with a list that the lines behind it do not close; 0 without one."""
    depth = at = 0
    for number, line in enumerate(lines, 1):
        code = line.partition("#")[0]
        if depth == 0 and "=" in code and code.partition("=")[2].strip().startswith("["):
            at, value = number, code.partition("=")[2]
            depth = value.count("[") - value.count("]")
        elif depth > 0:
            depth += code.count("[") - code.count("]")
    return at if depth > 0 else 0


def _fault(line: str, said: str) -> Fault:
    """Name what is wrong in the line where the reading stopped."""
    if not line.partition("#")[0].isascii():
        return "lookalike"
    if said.startswith("Cannot"):
        return "twice"
    if line.startswith("["):
        return "header"
    before, equals, value = line.partition("=")
    if not equals:
        return "colon" if ":" in before else "other"
    return _fault_of_value(value.strip())


def _fault_of_value(value: str) -> Fault:
    first = value[:1]
    if first in _QUOTES and value.count(first) % 2:
        return "unfinished"
    if first in ("[", "{"):
        return "unfinished"
    return "quotes" if first.isalpha() else "other"
