"""Learner guidance over HTTP: predictions, hints, the solution as a diff, earlier versions."""

import io
import re
import zipfile
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from app.course import Part, Shelf
from app.protocol.events import Edit
from app.web.state import Playground
from tests.support.clients import seat_of
from tests.support.scripted import HTMX, LOG, START, ScriptedEngine, post

pytestmark = pytest.mark.anyio

MINE = 'fn main() {\n    println!("Mine");\n}\n'


async def press(
    client: httpx.AsyncClient, action: str, choice: str = "", main: str = START, *, htmx: bool = True
) -> httpx.Response:
    """Post the form as one of its buttons does."""
    return await post(client, f"/lessons/one/{action}", main, htmx=htmx, choice=choice)


def given(answer: httpx.Response) -> str:
    """Return the text for src/main.rs in an answer."""
    found = re.search(r'<textarea data-given="file:src/main.rs"[^>]*>\n(.*?)</textarea>', answer.text, re.DOTALL)
    assert found, answer.text
    return found[1].replace("&#34;", '"')


async def kept(app: FastAPI, client: httpx.AsyncClient) -> dict[str, str]:
    playground: Playground = app.state.playground
    return await playground.progress.files(seat_of(client.cookies), "one")


@pytest.mark.parametrize("htmx", [True, False])
async def test_hints_open_one_at_a_time_and_stay_open(learner: httpx.AsyncClient, htmx: bool) -> None:
    answer = await press(learner, "hints", "1", MINE, htmx=htmx)
    assert ("<html" in answer.text) is not htmx
    assert "First" in answer.text
    assert "Second" not in answer.text
    assert "Show another hint" in answer.text
    assert htmx or "Mine" in answer.text, "what was typed is still there"
    page = (await learner.get("/lessons/one")).text
    assert "First" in page
    assert "Second" not in page
    page = (await press(learner, "hints", "2")).text
    assert "Second" in page
    assert "nother hint" not in page
    assert "// one" not in page, "the solution waits to be asked for"


@pytest.mark.parametrize("choice", ["0", "4", "-1", "x", "", "9" * 5000, "0001" + "9" * 30, "²"])
async def test_a_hint_that_is_not_there(learner: httpx.AsyncClient, choice: str) -> None:
    assert (await press(learner, "hints", choice)).status_code == 422


async def test_the_solution_is_shown_against_the_learners_own_files(learner: httpx.AsyncClient) -> None:
    page = (await press(learner, "hints", "3", MINE)).text
    assert '<span class="old">-     println!(&#34;Mine&#34;);' in page
    assert '<span class="new">+ // one' in page
    assert "// one" in (await learner.get("/lessons/one")).text, "once opened it stays"


async def test_the_whole_solution_is_applied_and_taken_back(app: FastAPI, learner: httpx.AsyncClient) -> None:
    await press(learner, "hints", "3", MINE)
    answer = await press(learner, "apply", "all", MINE)
    assert given(answer) == "// one\n"
    assert "Your files match this solution." in answer.text
    assert "Restore my text" in answer.text
    assert await kept(app, learner) == {"src/main.rs": "// one\n"}
    answer = await press(learner, "undo", main="// one\n// more\n")
    assert given(answer) == MINE
    assert "Redo" in answer.text
    assert given(await press(learner, "redo", main=MINE)) == "// one\n// more\n"


async def test_one_hunk_is_applied_by_itself(app: FastAPI, learner: httpx.AsyncClient) -> None:
    lines = [f"// {number}" for number in range(20)]
    playground: Playground = app.state.playground
    lesson = playground.shelf.lessons[0]
    lesson.solution["src/main.rs"] = "\n".join(["// first", *lines[1:-1], "// last"])  # type: ignore[index]  # it is a dict
    main = "\n".join(lines)
    page = (await press(learner, "hints", "3", main)).text
    first, second = re.findall(r'value="(src/main.rs:\w+)"', page)
    answer = await press(learner, "apply", second, main)
    assert given(answer) == "\n".join([*lines[:-1], "// last"])
    assert re.findall(r'value="(src/main.rs:\w+)"', answer.text) == [first]
    stale = await press(learner, "apply", second, given(answer))
    assert given(stale) == given(answer), "a hunk that is not there any more changes nothing"


async def test_without_scripts_a_hunk_is_applied_in_the_page(learner: httpx.AsyncClient) -> None:
    answer = await post(learner, "/lessons/one/apply", MINE, choice="all", command="cargo check")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one?command=cargo+check")
    page = (await learner.get(answer.headers["location"])).text
    assert "// one\n</textarea>" in page
    assert "Restore my text" in page
    assert 'value="cargo check" required' in page
    for _ in range(2):
        await press(learner, "undo", main="// one\n", htmx=False)
    assert "Mine" in (await learner.get("/lessons/one")).text, "a second click changes nothing"


@pytest.mark.parametrize("htmx", [True, False])
async def test_a_reset_keeps_the_text_and_offers_it_back(app: FastAPI, learner: httpx.AsyncClient, htmx: bool) -> None:
    await post(learner, main="// as run\n")
    answer = await press(learner, "reset", main=MINE, htmx=htmx)
    assert answer.status_code == (200 if htmx else 303)
    assert not htmx or given(answer) == START
    assert await kept(app, learner) == {}
    page = (await learner.get("/lessons/one")).text
    assert "Your text from before you took the files of the step is saved." in page
    assert given(await press(learner, "undo")) == MINE, "also what was never run"
    assert "Nothing has run yet." in page


@pytest.mark.parametrize("htmx", [True, False])
async def test_what_the_text_offers_to_try_is_put_in_place_and_taken_back(
    app: FastAPI, learner: httpx.AsyncClient, htmx: bool
) -> None:
    page = (await learner.get("/lessons/one")).text
    assert re.search(r'<button[^>]*value="other"[^>]*formaction="/lessons/one/offer#bench"[^>]*>Try <code>it', page)
    answer = await press(learner, "offer", "other", MINE, htmx=htmx)
    assert answer.status_code == (200 if htmx else 303)
    assert await kept(app, learner) == {"src/main.rs": "// other\n"}
    assert "Your text from before you took what the text offers is saved." in (await learner.get("/lessons/one")).text
    assert given(await press(learner, "undo", main="// other\n")) == MINE
    assert (await press(learner, "offer", "another")).status_code == 422


@pytest.mark.parametrize("htmx", [True, False])
async def test_what_a_tool_would_write_is_offered_and_taken_back(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, htmx: bool
) -> None:
    formatted = "fn main() {}\n"
    edits = (Edit(id=2, path="src/main.rs", text=formatted), Edit(id=3, path="build.rs", text="// not offered\n"))
    engine.log = (LOG[0], *edits, *LOG[3:])
    page = (await post(learner, main=MINE, command="cargo fmt", htmx=False)).text
    (way,) = re.findall(r'value="(\w+)" data-show="code"\s+formaction="/lessons/one/accept#bench"', page)
    assert await kept(app, learner) == {"src/main.rs": MINE}, "nothing has changed so far"
    answer = await press(learner, "accept", way, MINE, htmx=htmx)
    assert answer.status_code == (200 if htmx else 303)
    assert not htmx or given(answer) == formatted
    assert await kept(app, learner) == {"src/main.rs": formatted}
    assert given(await press(learner, "undo", main=formatted)) == MINE
    assert (await press(learner, "accept", f"{9:032x}")).status_code == 404
    engine.state = "running"
    assert (await press(learner, "accept", way)).status_code == 422


async def test_a_run_without_edits_offers_none(learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    await post(learner, main=MINE)
    assert (await press(learner, "accept", f"{1:032x}")).status_code == 422
    assert len(engine.jobs) == 1


async def test_a_reset_of_an_untouched_step_offers_nothing(learner: httpx.AsyncClient) -> None:
    await press(learner, "reset")
    assert "is saved.</span>" not in (await learner.get("/lessons/one")).text


async def test_files_carried_along_replace_others_only_to_be_had_again(learner: httpx.AsyncClient) -> None:
    await post(learner, main="// from one\n")
    await post(learner, "/lessons/two/runs", main="// was in two\n")
    await learner.post("/lessons/two/carry", data={"from": "one"})
    page = (await learner.get("/lessons/two")).text
    assert "// from one" in page
    assert "Your text from before you brought your files along is saved." in page
    back = await post(learner, "/lessons/two/undo", main="// from one\n", htmx=True)
    assert given(back) == "// was in two\n"


async def test_a_second_tab_does_not_run_over_the_first(learner: httpx.AsyncClient) -> None:
    def base(page: str) -> str:
        found = re.search(r'name="base" value="(\w+)"', page)
        assert found
        return found[1]

    begun = base((await learner.get("/lessons/one")).text)
    mine = base((await post(learner, main="// tab one\n", base=begun, htmx=True)).text)
    await post(learner, main="// tab one, again\n", base=mine, htmx=True)
    assert "is saved.</span>" not in (await learner.get("/lessons/one")).text, "one tab alone makes no versions"
    await post(learner, main="// tab two\n", base=mine, htmx=True)
    page = (await learner.get("/lessons/one")).text
    assert "Your text from before you ran other files in another tab is saved." in page
    assert given(await press(learner, "undo", main="// tab two\n")) == "// tab one, again\n"


async def test_what_changed_since_the_last_run(learner: httpx.AsyncClient) -> None:
    assert "Nothing has run" in (await press(learner, "changes", main=MINE)).text
    await post(learner)
    answer = (await press(learner, "changes", main=MINE)).text
    assert '<span class="old">-     println!(&#34;Hello&#34;);' in answer
    assert '<span class="new">+     println!(&#34;Mine&#34;);' in answer
    assert "changed since your last run" in (await press(learner, "changes")).text
    page = (await press(learner, "changes", main=MINE, htmx=False)).text
    assert "<html" in page
    assert '<span class="new">' in page


@pytest.mark.parametrize("action", ["apply", "reset", "undo", "redo", "changes"])
async def test_a_text_that_cannot_be_kept_is_refused(learner: httpx.AsyncClient, action: str) -> None:
    assert (await press(learner, action, main="a\0b")).status_code == 422


@pytest.mark.parametrize(
    "action", ["predict", "hints", "apply", "undo", "redo", "changes", "reset", "zip", "script", "take"]
)
async def test_the_address_of_a_form_leads_back(learner: httpx.AsyncClient, action: str) -> None:
    answer = await learner.get(f"/lessons/one/{action}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/lessons/one")


async def test_a_step_without_a_question_asks_none(learner: httpx.AsyncClient) -> None:
    assert "Before you run it" not in (await learner.get("/lessons/one")).text
    assert (await press(learner, "predict", "x")).status_code == 422


@pytest.fixture
def with_bonus(app: FastAPI) -> Playground:
    """A playground whose last lesson goes beyond the post."""
    playground: Playground = app.state.playground
    *steps, last = playground.shelf.lessons
    parts = Part("Steps", tuple(steps)), Part("Beyond the post", (last,), beyond=True)
    playground.shelf = Shelf((replace(playground.shelf.default, parts=parts),))
    return playground


@pytest.mark.usefixtures("with_bonus")
async def test_the_map_has_two_parts(learner: httpx.AsyncClient) -> None:
    page = (await learner.get("/")).text
    assert page.index('id="part-1"') < page.index('href="/lessons/two"') < page.index("Beyond the post")
    assert page.index("Beyond the post") < page.index('href="/lessons/three"')
    assert "0 of 2 steps reached" in page
    assert "6 minutes in total" in page
    assert "A section" in page


async def test_a_lesson_beyond_the_post_counts_in_its_own_part(
    with_bonus: Playground, learner: httpx.AsyncClient
) -> None:
    seat = seat_of(learner.cookies)
    await with_bonus.progress.mark(seat, "three", "1.99")
    bar = (await learner.get("/progress/three")).text
    assert 'hx-target="#run-startup"' in bar
    assert "1 of 1 extras reached" in bar
    assert "0 of 2 steps reached" in (await learner.get("/progress/two")).text
    page = (await learner.get("/lessons/three")).text
    assert re.search(r"Beyond the post, 1 of 1\b", page)
    assert "Step 2 of 2" in (await learner.get("/lessons/two")).text
    for slug in ("one", "two"):
        await with_bonus.progress.mark(seat, slug, "1.99")
    assert "All 2 steps of the post reached." in (await learner.get("/")).text


async def test_the_map_shows_where_one_was(learner: httpx.AsyncClient) -> None:
    assert "You are here" not in (await learner.get("/")).text
    await post(learner, "/lessons/two/runs")
    page = (await learner.get("/")).text
    assert page.count("You are here") == 1
    assert (
        page.index("Step <code>two</code></span>")
        < page.index("You are here")
        < page.index("<code>three</code></span>")
    )


async def test_the_crate_leaves_as_a_zip_and_as_a_script(learner: httpx.AsyncClient) -> None:
    answer = await press(learner, "zip", main=MINE, htmx=False)
    assert answer.headers["content-disposition"] == 'attachment; filename="one.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read("blog_os/src/main.rs").decode() == MINE
        assert archive.read("blog_os/Cargo.toml") == b"[package]\n"
    answer = await press(learner, "script", main=MINE, htmx=False)
    assert answer.headers["content-type"].startswith("text/plain")
    assert MINE in answer.text
    assert answer.text.endswith("\ncargo build\n")
    assert (await press(learner, "zip", main="a\0")).status_code == 422


async def test_the_files_of_a_link_replace_the_learners_only_to_be_had_again(
    app: FastAPI, learner: httpx.AsyncClient
) -> None:
    fields = {"taken:src/main.rs": "// brought\r\n", "taken:Cargo.toml": "no", "taken:/etc/passwd": "no"}
    answer = await post(learner, "/lessons/one/take", MINE, htmx=True, **fields)
    assert given(answer) == "// brought\n"
    assert await kept(app, learner) == {"src/main.rs": "// brought\n"}
    assert given(await press(learner, "undo", main="// brought\n")) == MINE
    refused = await learner.post("/lessons/one/take", data={"taken:src/main.rs": "\0"}, headers=HTMX)
    assert refused.status_code == 422
