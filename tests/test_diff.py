"""Hunks: together they turn one text into the other, and each can be applied alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.diff import apply, compare, compare_files
from bench.pace import processor_time

OLD = "a\nb\nc\nd\ne\nf\ng\nh\n"
NEW = "a\nB\nc\nd\ne\nf\ng\nh\ni\n"
texts = st.lists(st.sampled_from(["", "a", "b", "}"]), max_size=30).map("\n".join)


def test_places_that_lie_apart_are_hunks_of_their_own() -> None:
    first, second = compare(OLD, NEW)
    assert apply(OLD, first) == OLD.replace("b", "B")
    assert apply(OLD, second) == OLD + "i\n"
    assert [line.kind for line in first.lines] == ["same", "old", "new", "same", "same"]


def test_a_hunk_keeps_its_name_when_the_text_changes_elsewhere() -> None:
    _, second = compare(OLD, NEW)
    assert compare(OLD.replace("b", "B"), NEW) == (second,)
    assert second.id in {hunk.id for hunk in compare(f"new first line\n{OLD}", NEW)}


def test_equal_hunks_have_names_of_their_own() -> None:
    old = "\n".join(["x", *["same"] * 9, "x", *["same"] * 9])
    names = [hunk.id for hunk in compare(old, old.replace("x", "y"))]
    assert len(set(names)) == len(names) == 2


def test_a_missing_last_line_end_is_a_difference() -> None:
    (hunk,) = compare("a", "a\n")
    assert apply("a", hunk) == "a\n"


def test_only_files_that_differ_are_named() -> None:
    diffs = compare_files({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    assert [diff.path for diff in diffs] == ["b", "c"]


@given(texts, texts)
def test_from_the_last_to_the_first_they_make_the_new_text(old: str, new: str) -> None:
    text = old
    for hunk in reversed(compare(old, new)):
        text = apply(text, hunk)
    assert text == new


@given(texts, texts)
def test_applying_the_first_that_is_left_comes_to_an_end(old: str, new: str) -> None:
    for _ in range(100):
        hunks = compare(old, new)
        if not hunks:
            break
        old = apply(old, hunks[0])
    assert old == new


def test_a_large_text_takes_no_long_search() -> None:
    with processor_time() as cost:
        (hunk,) = compare("a\nb\n" * 20_000, "b\n" * 20_000)
    assert cost.seconds < 2
    assert apply("a\nb\n" * 20_000, hunk) == "b\n" * 20_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([f"q{n}" if n % 3 == 0 else "x" for n in range(1999)], [f"z{n}" if n % 3 == 0 else "x" for n in range(199)]),
        ([f"k{n // 2 % 111}\na{n}" for n in range(999)], [f"k{n // 2 % 111}\nb{n}" for n in range(999)]),
    ],
    ids=["few lines, all alike", "many lines, alike in nines"],
)
def test_lines_chosen_to_be_alike_take_no_long_search(old: list[str], new: list[str]) -> None:
    with processor_time() as cost:
        (hunk,) = compare("\n".join(old), "\n".join(new))
    assert cost.seconds < 0.5
    assert apply("\n".join(old), hunk) == "\n".join(new)


def test_long_texts_that_share_every_other_line_take_little_time() -> None:
    old = "\n".join(f"{kind}{number}" for number in range(1000) for kind in "xu")
    new = "\n".join(f"{kind}{number}" for number in range(1000) for kind in "xv")
    with processor_time() as cost:
        [hunk] = compare(old, new)
    assert cost.seconds < 0.2
    assert apply(old, hunk) == new
