"""The facts of a TOML file: its keys and values, or the mistake that stops the parser."""

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
        return _fault_table(text, str(error))
    except RecursionError:
        return Table(fault="other")
    lines = _line_numbers(text)
    marks = Marks()
    for path, name in _key_names(content):
        marks.add(name, lines.get(path, 0))
    return Table(marks.all())


def _key_names(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield pairs of a key with its tables and a name for it: the key itself, or the key with a value.

    For example ``profile.dev.panic`` and ``profile.dev.panic = "abort"``. A table of an array is ``bin[]``. A list has
    a name for each of its values.
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


def _line_numbers(text: str) -> dict[str, int]:
    """Return the line numbers of the keys and tables that begin a line."""
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


def _fault_table(text: str, message: str) -> Table:
    said, _, place = message.partition(_AT)
    lines = text.split("\n")
    number = int(place.partition(",")[0]) if place[:1].isdecimal() else len(lines)
    number = _unclosed_list(lines[:number]) or number
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return Table(fault=_fault(line, said), line=number, text=shown(line))


def _unclosed_list(lines: list[str]) -> int:
    """Return the number of the line with a list that the following lines do not close; 0 if there is none."""
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
    """Classify the mistake in the line where the parser stopped."""
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
        return "quotes" if any(_lacks_quotes(part.strip()) for part in _parts(value)) else "unfinished"
    return "quotes" if first.isalpha() else "other"


def _parts(value: str) -> list[str]:
    """Return what stands between the commas of a list; nothing if the list is not closed."""
    inner, closed, _ = value[1:].rpartition("]")
    return inner.split(",") if closed else []


def _lacks_quotes(part: str) -> bool:
    return part[:1].isalpha() or part[:1] == "-"
