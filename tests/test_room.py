"""The classroom's rules with a given clock, and its tables."""

import json
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from app.progress import Progress, Try
from app.room.model import ClassState, Member, Records, Tally
from app.room.names import cleaned, labels
from app.room.stuck import median_seconds, reasons
from app.room.view import Outline, few, room_view, sorted_rows, step_sums
from app.room.wall import Slide, slides, turned

pytestmark = pytest.mark.anyio

NOW = 1_000_000.0
MINUTE = 60.0
TITLES = {"gone": "Something is gone"}
STEPS = (Outline("one", 1, "First", 2), Outline("two", 2, "Second", 3))


def member(number: int = 1, *, since: float = 2 * MINUTE, seen: float = 0.0, lesson: str = "one") -> Member:
    """Return a member who has been at the lesson for ``since`` seconds, and was last seen ``seen`` seconds ago."""
    return Member(number, f"s{number}", f"n{number}", NOW - 9999, NOW - seen, lesson, NOW - since)


def tally(*errors: str | None, first: float = 90.0, last: float = 10.0, reached: float | None = None) -> Tally:
    """Return a tally with these errors, newest first; times are seconds ago."""
    return Tally(len(errors), None if reached is None else NOW - reached, NOW - first, NOW - last, errors)


def why(one: Member, runs: Tally | None, usual: float | None = None) -> str:
    return "; ".join(reasons(one, runs, usual, NOW, TITLES))


def test_three_runs_with_the_same_error_are_stuck_and_named() -> None:
    assert why(member(), tally("gone", "gone", "gone")) == "the last 3 runs had the same error: Something is gone"
    assert why(member(), tally("gone", "gone")) == ""
    assert why(member(), tally("gone", "other", "gone")) == ""
    assert why(member(), tally(None, None, None)) == ""


def test_twice_the_usual_time_is_stuck_but_not_a_short_one() -> None:
    long = member(since=11 * MINUTE)
    said = "11 minutes here; the class's usual is 5 minutes"
    assert why(long, tally("a", "b", first=600), usual=5 * MINUTE) == said
    assert why(long, tally("a", "b", first=600), usual=6 * MINUTE) == ""
    assert why(long, tally("a", first=600)) == ""
    assert why(member(since=100), tally("a"), usual=1.0) == ""


def test_five_minutes_without_a_run_are_stuck_unless_the_page_is_closed() -> None:
    assert why(member(since=6 * MINUTE), None) == "nothing run for 6 minutes"
    assert why(member(since=6 * MINUTE), tally("a", last=30)) == ""
    assert why(member(since=4 * MINUTE), None) == ""
    assert why(member(since=6 * MINUTE, seen=91), None) == ""
    assert why(member(since=6 * MINUTE, lesson=""), None) == ""


def test_who_has_reached_the_goal_is_not_stuck() -> None:
    assert why(member(since=60 * MINUTE), tally("gone", "gone", "gone", last=3000, reached=900), usual=60) == ""


def test_the_usual_time_is_the_median_of_at_least_three() -> None:
    members = [member(number) for number in range(1, 5)]
    times = {("s1", "one"): 60, ("s2", "one"): 120, ("s3", "one"): 900}
    tallies = {key: Tally(0, NOW, NOW - seconds, NOW) for key, seconds in times.items()}
    assert median_seconds(members, tallies, "one") == 120
    assert median_seconds(members[:2], tallies, "one") is None
    before = {**tallies, ("s4", "one"): Tally(0, NOW)}
    assert median_seconds(members, before, "one") == 120


def test_the_cards_are_the_five_most_urgent_and_the_rows_sort() -> None:
    members = tuple(member(number, since=(5 + number) * MINUTE) for number in range(1, 8))
    away = Member(8, "s8", "", NOW, NOW - 1000, "two", NOW)
    stuck = tally("gone", "gone", "gone", last=400)
    records = Records((*members, away), {("s2", "one"): stuck}, {("s1", "one"): 3})
    view = room_view(records, STEPS, NOW, TITLES)
    assert [row.member.number for row in view.cards] == [2, 7, 6, 5, 4]
    assert (view.here, view.not_begun, view.stuck) == (7, 7, 7)
    assert [row.member.label for row in sorted_rows(view.rows, "name")][-1] == "Seat 8"
    assert [row.member.number for row in sorted_rows(view.rows, "step")][-1] == 8
    assert sorted_rows(view.rows, "stuck")[0].member.number == 2
    assert view.rows[0].cells[0].solution
    assert view.rows[1].cells[0].dots == 3


def test_the_sums_of_a_step_count_learners() -> None:
    tallies = {
        ("s1", "one"): tally("gone", "gone", reached=30, first=150),
        ("s2", "one"): tally("gone", "other"),
    }
    records = Records((member(1), member(2), member(3)), tallies, {("s1", "one"): 3, ("s2", "one"): 1})
    sums = step_sums(records, STEPS[0])
    assert (sums.learners, sums.reached, sums.trying, sums.minutes) == (3, 1, 1, 2)
    assert dict(sums.errors) == {"gone": 2, "other": 1}
    assert sums.hints == (2, 1, 1)
    assert [few(number) for number in (0, 1, 2, 3)] == ["nobody yet", "a few", "a few", "3"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("  Ada\n Lovelace ", "Ada Lovelace"),
        ("Nguyễn 李 Ömer", "Nguyễn 李 Ömer"),
        ("e\u0301", "é"),
        ("\u202eevil\u2066", "evil"),
        ("a" + "\u0301\u200d" * 9, "\u00e1\u0301\u0301"),
        ("\u0301 \u0301", ""),
        ("\u3164\u2800\u00a0", ""),
        ("a\x00\x1b[31mb\ue000", "a[31mb"),
    ],
)
def test_a_name_is_one_line_of_visible_letters(given: str, shown: str) -> None:
    assert cleaned(given) == shown


def test_only_the_beginning_of_a_long_name_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    normalize, sizes = unicodedata.normalize, list[int]()

    def counted(form: Literal["NFC"], text: str) -> str:
        sizes.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr("app.room.names.unicodedata.normalize", counted)
    assert cleaned("a" + 10_000 * "\u0300" + 10_000 * "\u0316") == "\u00e0\u0300\u0300"
    assert cleaned("x" * 20_000).startswith("x" * 31)
    assert max(sizes) <= 1000


def test_names_that_look_alike_have_their_number() -> None:
    names = {1: "Ada", 2: "\uff21da", 3: "Grace", 4: "", 5: "seat 4", 6: "Grace (3)", 7: "\u2603", 8: "\u2604"}
    found = labels([Member(number, f"s{number}", name, NOW, NOW) for number, name in names.items()])
    assert found == {
        1: "Ada (1)",
        2: "\uff21da (2)",
        3: "Grace",
        4: "Seat 4 (4)",
        5: "seat 4 (5)",
        6: "Grace (3) (6)",
        7: "\u2603",
        8: "\u2604",
    }


def test_the_slides_turn_in_a_circle() -> None:
    order = slides("one", ["gone"], polled=True)
    assert [str(slide) for slide in order] == ["address one", "step one", "poll one", "error one gone"]
    assert turned(order, order[0], -1) == order[-1]
    assert turned(order, Slide.of("error two x"), 1) == order[0]
    assert turned(order, Slide.of("address"), 1) == order[1]
    assert Slide.of("error one gone") == order[-1]
    assert Slide.of("<script>").kind == "address"


# The tables


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.sqlite3"


@pytest.fixture
def progress(path: Path) -> Iterator[Progress]:
    progress = Progress(path)
    yield progress
    progress.close()


def outcome(lesson: str = "one", at: float = NOW, error: str | None = "gone", *, reached: bool = False) -> Try:
    return Try("course", "digest", lesson, at, reached, "failed", error, ("errors",), 0.5)


async def joined(progress: Progress, *seats: str) -> None:
    await progress.room.open(NOW, {"name": "Rust", "code": "", "address": "http://localhost:1"})
    for seat in seats:
        await progress.room.join(seat, seat.upper(), NOW)


async def test_only_runs_of_members_of_an_open_class_are_stored(progress: Progress) -> None:
    assert not await progress.room.add("a", outcome())
    await joined(progress, "a")
    assert await progress.room.state() == ClassState(NOW, "Rust", "", "http://localhost:1")
    assert await progress.room.add("a", outcome())
    assert not await progress.room.add("b", outcome())
    found = await progress.room.records(["one"])
    assert found.tallies == {("a", "one"): Tally(1, None, NOW, NOW, ("gone",))}
    assert found.members[0].lesson == "one"
    await progress.room.end()
    assert not await progress.room.add("a", outcome())


async def test_a_run_is_one_try_also_if_its_verdict_is_stored_again(progress: Progress) -> None:
    await joined(progress, "a")
    assert await progress.room.add("a", outcome(), "run 1")
    assert not await progress.room.add("a", outcome(at=NOW + 60), "run 1")
    assert await progress.room.add("a", outcome(at=NOW + 90), "run 2")
    found = await progress.room.records(["one"])
    assert found.tallies == {("a", "one"): Tally(2, None, NOW, NOW + 90, ("gone", "gone"))}
    assert (await sums(progress))["one", "runs"] == 2


async def test_the_tally_has_the_latest_errors_and_what_was_reached_before_the_class(progress: Progress) -> None:
    await progress.mark("a", "two", "1.96")
    await joined(progress, "a")
    for number, error in enumerate(["w", "x", "y", None]):
        await progress.room.add("a", outcome(at=NOW + number, error=error))
    await progress.room.add("a", outcome(at=NOW + 9, error="goal", reached=True))
    await progress.guides.open("a", "one", 2)
    found = await progress.room.records(["one", "two"])
    assert found.tallies["a", "one"] == Tally(4, NOW + 9, NOW, NOW + 9, (None, "y", "x"))
    assert found.tallies["a", "two"].reached
    assert found.opened == {("a", "one"): 2}


async def test_tallies_that_are_read_piece_by_piece_are_those_read_at_once(progress: Progress, path: Path) -> None:
    """Also when tries were deleted since, here or by another process, and when a new one got a deleted one's number."""
    await joined(progress, "a", "b", "c")
    other = Progress(path)

    async def check() -> None:
        fresh = Progress(path)
        assert await progress.room.records(["one", "two"]) == await fresh.room.records(["one", "two"])
        fresh.close()

    for number, (seat, lesson) in enumerate([("a", "one"), ("b", "one"), ("a", "two"), ("a", "one"), ("c", "one")]):
        await progress.room.add(seat, outcome(lesson, NOW + number, f"error {number}", reached=number == 3))
        await check()
    await progress.room.leave("c")  # whose try was the newest
    await progress.room.add("b", outcome("two", NOW + 9))
    await check()
    await other.room.leave("a")
    await check()
    assert set((await progress.room.records(["one", "two"])).tallies) == {("b", "one"), ("b", "two")}
    await other.room.end()
    await check()
    other.close()


async def test_a_raised_hand_keeps_its_place(progress: Progress) -> None:
    await joined(progress, "a")
    await progress.room.hand("a", NOW + 1)
    await progress.room.hand("a", NOW + 2)
    found = await progress.room.member("a")
    assert found
    assert found.hand == NOW + 1
    await progress.room.hand("a", None)
    assert (await progress.room.member("a") or found).hand is None


async def test_a_class_that_is_begun_twice_keeps_its_key_and_its_code(progress: Progress) -> None:
    async def begun(key: str, code: str) -> tuple[str, str]:
        return await progress.room.begin(NOW, {"address": "http://localhost:1"}, "first", key, code)

    assert await begun("key 1", "") == ("key 1", "")
    assert await begun("key 2", "BCDF") == ("key 1", "BCDF")
    assert await begun("key 3", "GHJK") == ("key 1", "BCDF")
    assert await progress.room.state() == ClassState(NOW, "", "BCDF", "http://localhost:1")
    assert await begun("key 4", "") == ("key 1", "")
    assert await progress.room.instructors() == {"first": ("key 1", "")}


async def test_a_class_can_be_full(progress: Progress) -> None:
    await joined(progress, "a")
    assert not await progress.room.join("b", "B", NOW, most=1)
    assert await progress.room.join("a", "Renamed", NOW, most=1)
    assert await progress.room.member("b") is None
    assert (await progress.room.records([])).members[0].name == "Renamed"


async def test_in_a_full_class_those_give_way_who_ran_nothing_and_are_gone(progress: Progress) -> None:
    await joined(progress, "worked", "idle", "gone")
    await progress.room.add("worked", outcome())
    await progress.room.saw([("worked", NOW - 5000), ("idle", NOW - 599), ("gone", NOW - 601)])
    assert await progress.room.join("late", "Late", NOW, most=3)
    assert [each.seat for each in (await progress.room.records([])).members] == ["worked", "idle", "late"]
    assert not await progress.room.join("later", "Later", NOW, most=3)
    assert await progress.room.sweep() == ["idle", "late"]
    assert [each.seat for each in (await progress.room.records([])).members] == ["worked"]


async def test_a_link_works_once_and_for_its_time(progress: Progress) -> None:
    await joined(progress, "a")
    await progress.room.link("h1", "a", NOW + 10, "you")
    assert await progress.room.use("h1", NOW + 11) is None
    assert await progress.room.use("h1", NOW) == ("a", "you")
    assert await progress.room.use("h1", NOW) is None
    await progress.room.link("h2", "a", NOW + 10, "you")
    await progress.room.link("h3", "a", NOW + 10, "you")
    assert await progress.room.linked("h2", NOW) is None
    moved = await progress.room.member("a")
    assert moved
    assert (moved.moved, moved.mover) == (NOW, "you")


async def sums(progress: Progress) -> dict[tuple[object, object], object]:
    return {(row["lesson"], row["what"]): row["count"] for row in await progress.room.sums()}


async def test_forgetting_and_ending_keep_sums_and_nothing_else(progress: Progress, path: Path) -> None:
    await joined(progress, "ada-seat", "bob-seat")
    for seat in ("ada-seat", "bob-seat"):
        await progress.room.add(seat, outcome())
        await progress.room.send(seat, "one", "sentence", "hello", NOW)
    await progress.room.add("ada-seat", outcome(at=NOW + 1, error=None, reached=True))
    await progress.room.show("ada-seat", "run", "one", NOW + 10)
    before = await sums(progress)
    assert before["one", "learners"] == 2
    assert before["one", "error gone"] == 2
    await progress.forget("ada-seat")
    assert await sums(progress) == before
    assert [each.seat for each in (await progress.room.records(["one"])).members] == ["bob-seat"]
    await progress.room.end()
    assert await sums(progress) == before
    with closing(sqlite3.connect(path)) as db:
        left = "\n".join(db.iterdump())
    assert "ada" not in left.lower()
    assert "bob" not in left.lower()
    assert await progress.room.state() is None


async def test_members_are_deleted_after_their_last_run(progress: Progress) -> None:
    await joined(progress, "a", "b", "c")
    await progress.room.add("b", outcome(at=NOW + 100))
    await progress.room.add("c", outcome(at=NOW + 10))
    await progress.room.saw([("c", NOW + 200)])  # an open page is no run
    await progress.room.join("d", "D", NOW + 60)
    assert await progress.room.prune(NOW + 50) == 2
    left = await progress.room.records(["one"])
    assert [each.seat for each in left.members] == ["b", "d"]


async def test_an_export_has_names_only_if_asked(progress: Progress) -> None:
    await joined(progress, "a")
    await progress.room.add("a", outcome())
    [row] = await progress.room.tries(names=False)
    assert "name" not in row
    assert row["error"] == "gone"
    [named] = await progress.room.tries(names=True)
    assert named["name"] == "A"
    assert "'a'" not in json.dumps(named)


async def test_a_poll_counts_choices_of_members(progress: Progress) -> None:
    await joined(progress, "a", "b")
    for seat, choice in (("a", "x"), ("b", "y"), ("c", "x")):
        await progress.guides.predict(seat, "one", choice)
    await progress.guides.turned_out("a", "one", "y", "1.96")
    assert await progress.room.poll("one") == ({"x": 1, "y": 1}, {"y": 1})
