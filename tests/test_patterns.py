"""Searching a program's output in linear time, and a clear error for an invalid pattern."""

import pytest
from pydantic import TypeAdapter, ValidationError

from app.course.patterns import Pattern, matches
from tests.support.environment import takes_less_than

MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    ("pattern", "unit"),
    [
        ("NEEDED.*libc", "NEEDED "),
        (r"^\s*--> Cargo", "\n"),
        (r"^\s*--> Cargo", " "),
        (r"^host: \S+-\S+$", "host: a-"),
        (r"(?s)one\b[^\n]*\bok$.*two\b[^\n]*\bok$.*three", "one ok\ntwo ok\n"),
        ("(a+)+$", "a"),
    ],
)
def test_no_text_keeps_the_search_busy(pattern: str, unit: str) -> None:
    """Python's own ``re`` needs hours for each of these, because it backtracks from every position."""
    text = unit * (MEGABYTE // len(unit)) + "!"
    with takes_less_than(1):
        assert not matches(pattern, text)


def test_lines_have_ends_and_letters_are_not_bytes() -> None:
    assert matches("^b$", "a\nb\nc")
    assert not matches(r"\Ab", "a\nb")
    assert matches("^[éß]$", "ß")
    assert matches("^.$", "é")
    assert not matches("a", "\ud800"), "half a surrogate pair is text that matches nothing"


@pytest.mark.parametrize("pattern", ["(", "a(?!b)", r"(a)\1", "(?>a)"])
def test_what_cannot_be_searched_is_named(pattern: str) -> None:
    with pytest.raises(ValidationError, match="not a regular expression that RE2 accepts") as refused:
        TypeAdapter(Pattern).validate_python(pattern)
    assert pattern in str(refused.value)
