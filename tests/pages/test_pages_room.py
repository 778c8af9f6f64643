"""The classroom's pages without a browser: rights, what learners and instructors send each other, links to seats."""

import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from limits import parse

from app.course.specs import Option
from app.progress import Try
from app.room.model import ClassState, Member, Records
from app.room.view import Cell, Outline, room_view
from app.web.classroom import FIRST, Classroom, signed
from app.web.guard import Caller
from app.web.pages.room import wall
from app.web.pages.room.live import ClassPage, Pieces, frames_of
from app.web.render import page
from app.web.sse import frame
from tests.support.clients import cookie_name, seat_of
from tests.support.scripted import HTMX, START, ScriptedEngine, post

pytestmark = pytest.mark.anyio

KEY = "0123456789abcdefABCDEF"
INSTRUCTORS = (
    *("/class/events", "/class/step/one", "/class/step/one/events", "/class/wall", "/class/wall/events"),
    *("/class/members/1", "/class/runs/1"),
)


@pytest.fixture
async def classroom(app: FastAPI) -> Classroom:
    """An open class."""
    found: Classroom = app.state.playground.classroom
    await found.room.open(found.now(), {"address": "http://localhost", "name": "Rust <b>"})
    await found.room.admit(FIRST, KEY, "", found.now())
    found.changed()
    return found


@pytest.fixture
async def instructor(app: FastAPI, classroom: Classroom) -> AsyncIterator[httpx.AsyncClient]:
    """A browser with the instructor's cookie."""
    assert await classroom.state()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.post("/class/enter", data={"key": KEY})
        assert (answer.status_code, answer.headers["location"]) == (303, "/class")
        yield client


@pytest.fixture
def later(classroom: Classroom, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Stop the class's clock, and return a function that sets it to so many seconds after that."""
    begun = classroom.now()

    def set_clock(seconds: float) -> None:
        monkeypatch.setattr(classroom, "now", lambda: begun + seconds)

    set_clock(0)
    return set_clock


async def joined(classroom: Classroom, learner: httpx.AsyncClient, name: str = "Ada") -> Member:
    """Let the learner join and open the first step."""
    assert (await learner.post("/class/join", data={"name": name})).status_code == 303
    await learner.get("/lessons/one")
    member = await classroom.room.member(seat_of(learner.cookies))
    assert member
    return member


def outcome(classroom: Classroom, error: str | None = "gone") -> Try:
    return Try(
        "lessons", "digest", "one", classroom.now(), reached=False, status="failed", error=error, failed=(), seconds=1
    )


async def test_without_a_class_nothing_of_it_is_there(learner: httpx.AsyncClient) -> None:
    for path in ("/class", "/class/me", "/class/wall", "/class/qr.svg", "/seat/x"):
        answer = await learner.get(path)
        assert answer.status_code in (403, 404), path
    page = (await learner.get("/")).text
    assert "class-strip" in page
    assert "Join" not in page
    assert (await learner.post("/class/join", data={"name": "x"})).status_code == 404


@pytest.mark.usefixtures("classroom")
async def test_the_instructors_pages_need_the_key(learner: httpx.AsyncClient) -> None:
    for path in INSTRUCTORS:
        answer = await learner.get(path)
        assert answer.status_code == 403, path
        assert KEY not in answer.text
    for path in ("/class/pace", "/class/wall", "/class/members/1/send", "/class/members/1/seat", "/class/runs/1/close"):
        assert (await learner.post(path)).status_code == 403, path
    page = await learner.get("/class")
    assert (page.status_code, "data-class-key" in page.text) == (403, True)
    for value in ("first.00", "first", signed(FIRST, "another"), signed("other", KEY), "é"):
        forged = {b"cookie": f"{cookie_name(learner.cookies).replace('seat-', 'class-')}={value}".encode("latin-1")}
        assert (await learner.get("/class/wall", headers=forged)).status_code == 403, value


@pytest.mark.usefixtures("classroom")
async def test_keys_are_tried_only_a_few_times(learner: httpx.AsyncClient) -> None:
    answers = [(await learner.post("/class/enter", data={"key": str(n)})).status_code for n in range(7)]
    assert answers == [403] * 5 + [429] * 2
    assert (await learner.post("/class/enter", data={"key": KEY})).status_code == 303


@pytest.mark.usefixtures("classroom")
async def test_one_learners_wrong_keys_do_not_use_up_the_attempts_of_the_class(
    app: FastAPI, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.pages.room.rights._OF_ADDRESS", parse("7/minute"))
    for _ in range(10):
        await learner.post("/class/enter", data={"key": "wrong"})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as other:
        await other.get("/")
        answers = [(await other.post("/class/enter", data={"key": "wrong"})).status_code for _ in range(3)]
    assert answers == [403, 403, 429]


async def test_a_replaced_key_ends_the_old_cookie(classroom: Classroom, instructor: httpx.AsyncClient) -> None:
    assert (await instructor.get("/class")).status_code == 200
    await classroom.room.admit("co", "k" * 22, "Grace", classroom.now())
    await classroom.room.admit(FIRST, "another", "", classroom.now())
    assert (await instructor.get("/class")).status_code == 403
    assert (await instructor.post("/class/enter", data={"key": "k" * 22})).status_code == 303
    assert (await instructor.get("/class")).status_code == 200
    assert await classroom.room.withdraw("co")
    assert (await instructor.get("/class")).status_code == 403


async def test_everyone_who_asks_at_once_after_a_start_finds_the_class(app: FastAPI, classroom: Classroom) -> None:
    started = Classroom(classroom.room, app.state.playground.shelf.default)
    found = list[ClassState | None]()

    async def ask() -> None:
        found.append(await started.state())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert [each and each.name for each in found] == ["Rust <b>"] * 5


async def test_a_state_that_could_not_be_read_is_read_again(
    app: FastAPI, classroom: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Classroom(classroom.room, app.state.playground.shelf.default)

    async def fail() -> None:
        raise sqlite3.OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(classroom.room, "state", fail)
        with pytest.raises(sqlite3.OperationalError):
            await started.state()
    assert await started.state()  # None would take the strip off a learner's page for good


async def test_a_view_from_before_a_change_is_not_shared(
    classroom: Classroom, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined(classroom, learner)
    read = classroom.room.records

    async def slow(*lessons: object) -> Records:
        found = await read(*lessons)  # type: ignore[arg-type]  # the case's keys
        await learner.post("/class/leave")  # meanwhile
        return found

    with monkeypatch.context() as patched:
        patched.setattr(classroom.room, "records", slow)
        assert len((await classroom.view()).rows) == 1
    assert (await classroom.view()).rows == ()


async def test_what_others_do_does_not_draw_the_class_anew_for_each_learner(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await joined(classroom, learner)
    read, reads = classroom.room.records, 0

    async def counted(*lessons: object) -> Records:
        nonlocal reads
        reads += 1
        return await read(*lessons)  # type: ignore[arg-type]  # the case's keys

    monkeypatch.setattr(classroom.room, "records", counted)
    monkeypatch.setattr(classroom, "now", lambda: 1000.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as other:
        busy = await joined(classroom, other, "Eve")
        for _ in range(3):
            await other.post("/class/hand", data={"raised": "1"})
            assert await classroom.row(member.seat)
        assert reads == 1
        await learner.post("/class/hand", data={"raised": "1"})
        row = await classroom.row(member.seat)
        assert row
        assert row.member.hand == 1000.0
        await other.post("/class/hand")
        seen = (await classroom.view()).of(busy.seat)
        assert seen
        assert seen.member.hand is None
    assert reads == 3


async def test_all_who_look_within_a_second_share_one_view(
    classroom: Classroom, later: Callable[[float], None]
) -> None:
    found = await classroom.view()
    later(0.9)
    assert await classroom.view() is found
    later(1.1)
    assert await classroom.view() is not found


async def test_a_page_about_the_class_is_drawn_at_most_every_second(
    classroom: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waits = [100.0], list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("app.web.classroom.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("app.web.classroom.anyio.sleep", sleep)
    updates = classroom.updates()
    await anext(updates)
    for passed in (0.0, 0.25, 3.0):
        now[0] += passed
        classroom.changed()
        await anext(updates)
    assert waits == [1.0, 0.75, 0.0]
    monkeypatch.setattr("app.web.classroom._MOST_SECONDS", 0.0)
    with anyio.fail_after(60):
        await anext(updates)  # minutes pass, even if nothing happens


async def test_the_instructors_streams_follow_these_updates(
    classroom: Classroom, instructor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def twice() -> AsyncIterator[None]:
        yield
        yield

    monkeypatch.setattr(classroom, "updates", twice)
    for path in ("/class/events", "/class/step/one/events", "/class/wall/events"):
        with anyio.fail_after(60):
            first, *_, last = (await instructor.get(path)).text.strip().split("\n\n")
        assert "hx-partial" in first, path
        assert last == "event: beat\ndata: now", path


async def test_a_code_is_asked_for_once(classroom: Classroom, learner: httpx.AsyncClient) -> None:
    await classroom.room.set(code="BCDF")
    classroom.changed()
    assert 'name="code"' in (await learner.get("/")).text
    assert (await learner.post("/class/join", data={"name": "Ada", "code": "XXXX"})).status_code == 403
    assert (await learner.post("/class/join", data={"name": "Ada", "code": " bcdf "})).status_code == 303
    assert (await learner.post("/class/join", data={"name": "Eve"})).status_code == 303


async def test_a_closed_class_takes_nobody_else_and_keeps_its_members(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    await joined(classroom, learner)
    await instructor.post("/class/pace", data={"closed": "1"})
    assert "The class is closed" in (await instructor.get("/class")).text
    assert (await learner.post("/class/join", data={"name": "Renamed"})).status_code == 303
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as late:
        page = (await late.get("/")).text
        assert "The class is closed to newcomers" in page
        assert "Join the class" not in page
        assert (await late.post("/class/join", data={"name": "Eve"})).status_code == 409
        await instructor.post("/class/pace", data={"closed": ""})
        assert (await late.post("/class/join", data={"name": "Eve"})).status_code == 303


async def test_the_instructor_removes_one_learner_or_those_who_have_run_nothing(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    await classroom.tried(member.seat, outcome(classroom))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as idle:
        await joined(classroom, idle, "Zed")
        assert "Zed" in (await instructor.get("/class")).text
        await instructor.post("/class/sweep")
        page = (await instructor.get("/class")).text
        assert "Zed" not in page
        assert "Ada" in page
        assert "Join the class" in (await idle.get("/")).text
    assert (await instructor.post(f"/class/members/{member.number}/remove")).status_code == 303
    assert "Ada" not in (await instructor.get("/class")).text
    assert {"lesson": "one", "what": "learners", "count": 1} in await classroom.room.sums()


async def test_alike_names_are_told_apart(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    ada = await joined(classroom, learner, "Ada")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as other:
        imitation = await joined(classroom, other, "ADA\u200b")
        page = (await instructor.get("/class")).text
        assert "Another learner has a name like yours" in (await other.get("/class/me")).text
    assert f"<bdi>Ada ({ada.number})</bdi>" in page
    assert f"<bdi>ADA ({imitation.number})</bdi>" in page


async def test_a_strip_from_before_a_change_does_not_have_the_version_after_it(
    classroom: Classroom, learner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await joined(classroom, learner)
    await classroom.room.hand(member.seat, classroom.now())
    words = classroom.room.words

    async def lowered(seat: str) -> object:
        """The instructor lowers the hand while the strip is read."""
        await classroom.room.hand(seat, None)
        classroom.changed(seat)
        return await words(seat)

    with monkeypatch.context() as patched:
        patched.setattr(classroom.room, "words", lowered)
        before = await classroom.strip(member.seat)
    assert before
    assert before.member
    assert before.member.hand
    assert before.version != classroom.version(member.seat)
    asked = await learner.get("/class/strip", params={"seen": before.version})
    assert asked.status_code == 200
    assert "Lower" not in asked.text


async def test_the_open_page_of_a_member_is_heard(classroom: Classroom, learner: httpx.AsyncClient) -> None:
    member = await joined(classroom, learner)
    await classroom.room.saw([(member.seat, 1.0)])
    await learner.get("/class/strip?seen=0")
    await classroom.flush()
    now = await classroom.room.member(member.seat)
    assert now
    assert now.seen > 1.0


async def test_a_server_deletes_members_fourteen_days_after_their_last_run(
    classroom: Classroom, later: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    day = 24 * 3600.0
    for seat in ("ran", "idle"):
        await classroom.room.join(seat, seat, classroom.now())
    await classroom.room.add("ran", replace(outcome(classroom), at=classroom.now() + day))
    prune, pruned = classroom.room.prune, anyio.Event()

    async def told(before: float) -> int:
        number = await prune(before)
        pruned.set()
        return number

    async def left(days: float) -> list[str]:
        nonlocal pruned
        pruned = anyio.Event()
        later(days * day)
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(classroom.keep)
                await pruned.wait()
                tasks.cancel_scope.cancel()
        return [member.seat for member in (await classroom.records()).members]

    monkeypatch.setattr(classroom.room, "prune", told)
    assert await left(13.9) == ["ran", "idle"]
    assert await left(14.1) == ["ran"]
    assert await left(14.9) == ["ran"]
    assert await left(15.1) == []


async def test_a_learner_is_seen_and_names_are_text(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner, "<i>Ada</i>")
    for _ in range(3):
        await classroom.tried(member.seat, outcome(classroom))
    page = (await instructor.get("/class")).text
    assert "1 here · 0 not begun · 1 stuck" in page
    assert "the last 3 runs had the same error: Something is gone" in page
    assert 'aria-label="3 missed, is here">•••<' in page
    assert "<i>Ada" not in page
    assert "<b>" not in re.sub(r"<b class=\"mark\">", "", page)
    assert member.seat not in page
    assert (await learner.post("/class/join", data={"name": "x" * 31})).status_code == 422


async def test_a_hint_a_sentence_and_a_snippet_reach_the_learner(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    way = f"/class/members/{member.number}/send"
    before = await classroom.strip(member.seat)
    assert before
    assert (await learner.get(f"/class/strip?seen={before.version}&at=one")).status_code == 204
    for form in (
        {"kind": "hint"},
        {"kind": "sentence", "text": "Read <b>it</b>"},
        {"kind": "snippet", "text": "// one"},
    ):
        assert (await instructor.post(way, data={"step": "one", **form})).status_code == 303
    strip = (await learner.get(f"/class/strip?seen={before.version}&at=one")).text
    assert "First" in strip
    assert "Read &lt;b&gt;it" in strip
    assert "Put this in my files" in strip
    assert await classroom.room.words("somebody else") == []
    hint, _, snippet = await classroom.room.words(member.seat)
    assert "Read &lt;b&gt;it" in (await learner.post(f"/class/words/{hint.id}", headers=HTMX, data={"at": "one"})).text
    answer = await post(learner, "/lessons/one/snippet", htmx=True, choice=str(snippet.id))
    assert "// one" in answer.text
    undone = await post(learner, "/lessons/one/undo", htmx=True)
    assert "Hello" in undone.text
    assert (await post(learner, "/lessons/two/snippet", choice=str(snippet.id))).status_code == 422
    assert (await post(learner, "/lessons/one/snippet", choice=str(hint.id))).status_code == 422
    for wrong in ({"kind": "sentence", "text": " "}, {"kind": "sentence", "text": "x" * 2001}):
        assert (await instructor.post(way, data={"step": "one", **wrong})).status_code == 422


async def test_code_that_is_no_part_of_the_solution_goes_to_the_end(
    classroom: Classroom, learner: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    await classroom.room.send(member.seat, "one", "snippet", "fn extra() {}", classroom.now())
    [sent] = await classroom.room.words(member.seat)
    await post(learner, "/lessons/one/snippet", choice=str(sent.id))
    assert f"{START}\nfn extra() {{}}\n".replace('"', "&#34;") in (await learner.get("/lessons/one")).text


@pytest.mark.parametrize(
    ("facts", "signs", "words"),
    [
        ({}, "", None),
        ({"current": True}, "", "is here"),
        ({"dots": 3}, "•••", "3 missed"),
        ({"dots": 5, "more": True, "current": True}, "•••••+", "more than 5 missed, is here"),
        ({"solution": True}, "s", "solution open"),
        ({"solution": True, "current": True}, "s", "solution open, is here"),
        ({"dots": 3, "solution": True, "current": True}, "s•••", "3 missed, solution open, is here"),
        ({"reached": True}, "✓", "reached"),
        ({"reached": True, "dots": 5, "more": True}, "✓", "reached"),
        ({"reached": True, "dots": 2, "solution": True, "current": True}, "✓s", "reached, solution open, is here"),
    ],
)
def test_a_screen_reader_says_what_the_signs_of_a_cell_mean(
    facts: Mapping[str, Any], signs: str, words: str | None
) -> None:
    nothing = Cell("one", reached=False, dots=0, more=False, solution=False, current=False)
    cells = (nothing._replace(**facts),)
    html = page("_class_cells.html", row=SimpleNamespace(cells=cells))
    label = re.search(r'aria-label="([^"]*)"', html)
    assert (label and label[1], re.sub("<[^>]*>", "", html)) == (words, signs)


async def test_hands_queue_and_are_lowered(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    assert (await learner.post("/class/hand", data={"raised": "1"})).status_code == 409
    member = await joined(classroom, learner)
    assert "Your hand is raised" in (await learner.post("/class/hand", headers=HTMX, data={"raised": "1"})).text
    assert "1 hand raised" in (await instructor.get("/class")).text
    await instructor.post(f"/class/members/{member.number}/hand")
    assert "0 hands raised" in (await instructor.get("/class")).text


async def test_a_run_is_shown_to_the_instructor_until_it_is_closed(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    assert (await learner.post("/class/shown", data={"step": "one"})).status_code == 404
    await post(learner, main="// mine <b>\n")
    assert "can see a run of yours" in (await learner.post("/class/shown", headers=HTMX, data={"step": "one"})).text
    shown = await classroom.room.shown_by(member.seat, classroom.now())
    assert shown
    page = (await instructor.get(f"/class/runs/{shown.id}")).text
    assert "// mine &lt;b&gt;" in page
    assert "gone" in page
    assert (await learner.get(f"/class/runs/{shown.id}")).status_code == 403
    await learner.post("/class/shown")
    assert (await instructor.get(f"/class/runs/{shown.id}")).status_code == 404
    assert (await instructor.get(f"/runs/{shown.run}/output")).status_code == 404


async def test_a_run_is_shown_for_an_hour(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient, later: Callable[[float], None]
) -> None:
    member = await joined(classroom, learner)
    await post(learner)
    await learner.post("/class/shown", data={"step": "one"})
    later(3599)
    shown = await classroom.room.shown_by(member.seat, classroom.now())
    assert shown
    assert [row.shown for row in (await classroom.view()).rows] == [shown]
    assert (await instructor.get(f"/class/runs/{shown.id}")).status_code == 200
    assert "can see a run of yours" in (await learner.get("/lessons/one")).text
    later(3601)
    assert [row.shown for row in (await classroom.view()).rows] == [None]
    assert (await instructor.get(f"/class/runs/{shown.id}")).status_code == 404
    assert "Show my last run to the instructor" in (await learner.get("/lessons/one")).text


async def test_a_shown_run_that_is_gone_is_shown_no_more(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    await classroom.room.show(member.seat, "0" * 32, "one", classroom.now() + 60)
    shown = await classroom.room.shown_by(member.seat, classroom.now())
    assert shown
    answer = await instructor.get(f"/class/runs/{shown.id}")
    assert answer.status_code == 404
    assert "shows no such run any more" in answer.text
    assert await classroom.room.shown_by(member.seat, classroom.now()) is None


async def test_a_number_that_no_row_has_is_refused(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    await joined(classroom, learner)
    for number in (0, 2**63):
        assert (await instructor.get(f"/class/members/{number}")).status_code == 422
        assert (await instructor.get(f"/class/runs/{number}")).status_code == 422
        assert (await learner.post(f"/class/words/{number}")).status_code == 422
    assert (await instructor.get(f"/class/members/{2**63 - 1}")).status_code == 404


async def test_too_many_streams_are_refused_before_they_begin(
    app: FastAPI, classroom: Classroom, instructor: httpx.AsyncClient
) -> None:
    assert await classroom.state()
    with ExitStack() as stack:
        for number in range(app.state.playground.settings.max_run_streams):
            caller = Caller(f"10.0.0.{number}", "", lambda: None)
            stack.enter_context(app.state.playground.streams.open("class", caller))
        for path in ("/class/events", "/class/step/one/events", "/class/wall/events"):
            assert (await instructor.get(path)).status_code == 429


async def test_the_class_has_a_pace(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    await joined(classroom, learner)
    for form in ({"step": "two"}, {"minutes": "5"}, {"banner": "Stop <b>"}):
        assert (await instructor.post("/class/pace", data=form)).status_code == 303
    page = (await learner.get("/lessons/one")).text
    assert 'The class is at step 2: <a href="/lessons/two">' in page
    assert "5 minutes left" in page
    assert "Stop &lt;b&gt;" in page
    assert (await instructor.post("/class/pace", data={"step": "nowhere"})).status_code == 404


async def test_the_wall_says_nothing_about_one_person(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner, "Ada")
    await classroom.tried(member.seat, outcome(classroom))
    assert "http://localhost" in (await instructor.get("/class/wall")).text
    for slide, words in (("step one", "Nobody yet"), ("error one gone", "It was there.")):
        await instructor.post("/class/wall", data={"show": slide})
        page = (await instructor.get("/class/wall")).text
        assert words in page
        assert "Ada" not in page
    await instructor.post("/class/wall", data={"by": "1"})
    assert "<svg" in (await instructor.get("/class/wall")).text
    assert (await instructor.post("/class/wall", data={"show": "step nowhere"})).status_code == 404
    page = (await instructor.get("/class/step/one")).text
    assert "Something is gone: 1 learner" in page
    assert "Ada" not in page


@pytest.mark.parametrize("bare_keys", [True, False])
async def test_a_step_that_is_put_on_the_wall_stays_on_the_page(instructor: httpx.AsyncClient) -> None:
    page = (await instructor.get("/class/step/one")).text
    [slide] = re.findall(r'name="show" value="(step [^"]+)"', page)
    answer = await instructor.post("/class/wall", data={"show": slide})
    assert (answer.status_code, answer.headers["location"]) == (303, "/class/step/one")
    answer = await instructor.post("/class/wall", data={"show": "address"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/class/wall")


async def link_of(answer: httpx.Response) -> str:
    found = re.search(r"<code>http://localhost(/seat/[\w-]+)</code>", answer.text)
    assert found
    return found[1]


async def test_a_seat_moves_once_by_the_learners_own_link(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    link = await link_of(await learner.post("/class/seat"))
    assert (await instructor.post(link)).status_code == 403
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as device:
        assert "Continue as <bdi>Ada</bdi>" in (await device.get(link)).text
        assert "Continue as <bdi>Ada</bdi>" in (await device.get(link)).text
        await device.post(link)
        assert seat_of(device.cookies) == member.seat
        assert (await device.post(link)).status_code == 404
        assert "opened this seat on another device 1 minute ago" in (await device.get("/")).text
        await device.post("/class/another")
        assert seat_of(device.cookies) != member.seat
    assert "made by you" in (await learner.get("/")).text


async def test_a_link_to_a_seat_is_good_for_ten_minutes(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, later: Callable[[float], None]
) -> None:
    member = await joined(classroom, learner)
    link = await link_of(await learner.post("/class/seat"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as device:
        later(599)
        assert (await device.get(link)).status_code == 200
        later(601)
        assert (await device.get(link)).status_code == 404
        assert (await device.post(link)).status_code == 404
        later(599)
        assert (await device.post(link)).status_code == 303
        assert seat_of(device.cookies) == member.seat


async def test_a_refused_link_stays_out_of_the_log(
    classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.journal")
    await joined(classroom, learner)
    link = await link_of(await learner.post("/class/seat"))
    assert (await instructor.post(link)).status_code == 403
    [path] = [record.fields["path"] for record in caplog.records if record.message == "refused"]  # type: ignore[attr-defined]  # the journal's own
    assert path == "/seat/ID"


async def test_the_instructors_link_waits_for_the_learner_or_for_ten_minutes(
    app: FastAPI, classroom: Classroom, learner: httpx.AsyncClient, instructor: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    now = classroom.now()

    async def link() -> str:
        return await link_of(await instructor.post(f"/class/members/{member.number}/seat"))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as device:
        assert (await device.post(await link())).status_code == 409
        await classroom.room.ask(member.seat, now)
        assert (await device.post(await link())).status_code == 303
        assert "made by the instructor" in (await device.get("/")).text
    await classroom.flush()
    await classroom.room.saw([(member.seat, now - 601)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as device:
        assert (await device.post(await link())).status_code == 303


async def test_a_learner_who_asks_for_a_link_may_get_it_from_the_instructor_for_an_hour(
    app: FastAPI,
    classroom: Classroom,
    learner: httpx.AsyncClient,
    instructor: httpx.AsyncClient,
    later: Callable[[float], None],
) -> None:
    member = await joined(classroom, learner)

    async def move(silent: float) -> int:
        """Use an instructor's link while the old device has been silent for that many seconds; return the status."""
        await classroom.room.saw([(member.seat, classroom.now() - silent)])
        link = await link_of(await instructor.post(f"/class/members/{member.number}/seat"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as device:
            return (await device.post(link)).status_code

    await learner.post("/class/seat")  # asks
    later(3601)
    assert await move(599) == 409
    later(3599)
    assert await move(0) == 303
    assert await move(599) == 409, "they asked for one link"
    assert await move(601) == 303


async def test_a_learner_sees_their_own_row_and_can_leave_or_be_forgotten(
    classroom: Classroom, learner: httpx.AsyncClient
) -> None:
    assert "have not joined" in (await learner.get("/class/me")).text
    member = await joined(classroom, learner)
    await classroom.tried(member.seat, outcome(classroom))
    page = (await learner.get("/class/me")).text
    assert "on the server at localhost" in page
    assert "Something is gone" in page
    assert 'aria-label="1 missed, is here">•<' in page
    await learner.post("/class/leave")
    assert await classroom.room.member(member.seat) is None
    await joined(classroom, learner)
    await learner.post("/forget")
    assert await classroom.room.member(member.seat) is None


async def test_a_verdict_after_its_seat_was_deleted_brings_nothing_back(
    classroom: Classroom, learner: httpx.AsyncClient
) -> None:
    member = await joined(classroom, learner)
    assert len((await classroom.view()).rows) == 1
    await learner.post("/forget")
    await classroom.tried(member.seat, outcome(classroom))
    assert (await classroom.view()).rows == ()
    assert not (await classroom.records()).tallies


async def test_a_deletion_is_announced_even_if_the_seat_joined_meanwhile(
    classroom: Classroom, learner: httpx.AsyncClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = seat_of(learner.cookies)

    async def join(_: str) -> None:
        await classroom.room.join(seat, "Ada", classroom.now())

    monkeypatch.setattr(engine, "forget", join)
    before = classroom.version(seat)
    await learner.post("/forget")
    assert await classroom.room.member(seat) is None
    assert classroom.version(seat) != before


async def test_an_update_of_a_hundred_seats_is_small(app: FastAPI, classroom: Classroom) -> None:
    steps = tuple(Outline(f"step-{n}", n, f"Step {n}", 4) for n in range(26))
    home, now = app.state.playground, classroom.now()
    for number in range(100):
        seat = f"{number:032}"
        await classroom.room.join(seat, f"Learner {number}", now)
        for step in range(8):
            for _ in range(3):
                await classroom.room.add(seat, replace(outcome(classroom), lesson=f"step-{step}"))
    records = await classroom.room.records([step.key for step in steps])
    page = ClassPage("stuck", None)
    before = Pieces.of(home, page, room_view(records, steps, now, classroom.titles))
    assert list(frames_of(before, before)) == [frame("now", event="beat")]
    seat = f"{7:032}"
    await classroom.room.hand(seat, now)
    later = await classroom.room.records([step.key for step in steps])
    after = Pieces.of(home, page, room_view(later, steps, now, classroom.titles))
    [update] = frames_of(before, after)
    assert len(update) < 12_000
    assert update.count(b'role="row"') == 1
    for number in range(100):
        await classroom.room.hand(f"{number:032}", now)
    handed = await classroom.room.records([step.key for step in steps])
    hands = Pieces.of(home, page, room_view(handed, steps, now, classroom.titles)).blocks["class-hands"]
    assert len(hands) < 12_000
    assert "80 more hands are raised" in hands
    *blocks, rows = frames_of(None, after)
    assert max(map(len, blocks)) < 12_000
    assert len(rows) < 100_000
    assert rows.count(b'role="row"') == 100
    filtered = Pieces.of(home, ClassPage("name", steps[0]), room_view(later, steps, now, classroom.titles))
    assert b"delete" in b"".join(frames_of(after, filtered))


async def test_a_polls_bars_tell_nothing_about_few() -> None:
    options = [Option(id=name, text=name.upper(), because="x", status="ok") for name in "abcd"]
    found = wall.bars(options, {"a": 8, "b": 6, "c": 2})
    assert [(bar.text, bar.words, bar.percent) for bar in found] == [
        *(("A", "8", 100), ("B", "6", 75)),  # in percent of A, not of all
        *(("C", "a few", 0), ("D", "nobody yet", 0)),
    ]
    assert [bar.percent for bar in wall.bars(options, {})] == [0, 0, 0, 0]
