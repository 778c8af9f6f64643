"""One crate on every compiler: the answers side by side, with their differences marked."""

import re
from collections.abc import Callable

import httpx
import pytest

from app.course.diagnosis import Diagnosis
from app.protocol.events import Diagnostic, Event, Finished
from app.toolchain import Toolchain
from app.web.answers import Answer, columns
from tests.support.clients import disagreement, seated
from tests.support.server import Server

HTMX = {"hx-request": "true"}


def answer(name: str, *messages: tuple[str | None, str], state: str = "done") -> Answer:
    log: list[Event] = [
        Diagnostic(level="error", code=None, message=text, rendered=f"error: {text}\n", error_class=kind)
        for kind, text in messages
    ]
    return Answer(name, state, [*log, Finished(status="failed", exit_code=101, seconds=0.2)] if state == "done" else [])


def test_what_not_all_say_is_marked(diagnosis: Diagnosis) -> None:
    both = ("panic-handler-missing", "no handler <x>")
    now, then = columns(
        [
            answer("1.96", both, ("unwinding-unsupported", "unwinding")),
            answer("1.63", both, ("eh-personality-missing", "eh")),
        ],
        diagnosis,
    )
    assert [one.shared for one in now.errors] == [True, False]
    assert [one.shared for one in then.errors] == [True, False]
    assert [str(one.html).strip() for one in then.lines] == ["error: no handler &lt;x&gt;", "error: eh"]
    assert [one.shared for one in then.lines] == [True, False]
    assert now.differs


def test_the_same_kind_in_other_words_is_the_same_kind(diagnosis: Diagnosis) -> None:
    one, other = columns(
        [answer("1.96", ("start-lang-item", "a")), answer("1.63", ("start-lang-item", "b"))], diagnosis
    )
    assert one.errors[0].shared
    assert other.errors[0].shared
    assert not one.lines[0].shared


def test_a_run_that_goes_on_is_not_compared(diagnosis: Diagnosis) -> None:
    done, running = columns([answer("1.96", (None, "a")), answer("1.63", state="running")], diagnosis)
    assert not done.differs
    assert running.finished is None


def test_errors_of_a_strangers_own_words_are_bounded_in_length_and_number(diagnosis: Diagnosis) -> None:
    words: list[tuple[str | None, str]] = [(None, f"{number} {'<' * 250_000}") for number in range(60)]
    [column] = columns([answer("1.96", *words)], diagnosis)
    assert sum(len(one.html) for one in column.errors) < 250_000
    assert str(column.errors[0].html).startswith("0 &lt;")
    assert str(column.errors[0].html).endswith("…")


@pytest.fixture
def hosts(toolchains: tuple[Toolchain, ...]) -> list[str]:
    found = sorted(toolchains, key=lambda one: one.release, reverse=True)
    names = [one.info.title for one in found if one.can_build(None)]
    if len(names) < 2:
        pytest.skip("only one compiler is here; playground setup --era brings another on Debian 12")
    return names


def form(**more: str) -> dict[str, str]:
    return {"command": "cargo build", "toolchain": "all", "file:src/main.rs": "#![no_std]\nfn main() {}\n", **more}


def test_without_scripts_the_page_shows_every_compilers_answer(server: str, hosts: list[str]) -> None:
    with seated(server) as client:
        page = client.post("/lessons/empty-main/runs", data=form()).text
        assert re.findall(r'aria-label="Rust ([^":]+)"', page) == hosts
        assert page.count("✓ goal reached") == len(hosts)
        assert re.search(r'<option value="all" selected', page)
        alone = client.get(found(page)).text
        assert re.findall(r'aria-label="Rust ([^":]+)"', alone) == hosts


def test_a_difference_between_the_answers_is_marked(server: str) -> None:
    slug, command = disagreement(server)
    with seated(server) as client:
        page = client.post(f"/lessons/{slug}/runs", data={"command": command, "toolchain": "all"}).text
        assert "The compilers disagree" in page
        assert "<mark" in page


def test_htmx_gets_the_columns_as_each_compiler_ends(server: str, hosts: list[str]) -> None:
    with seated(server) as client:
        panel = client.post("/lessons/empty-main/runs", data=form(), headers=HTMX).text
        assert "<html" not in panel
        stream = client.get(found(panel) + "/events").text
        assert 0 < stream.count('hx-target="#run-columns"') <= len(hosts)
        assert "event: run-done" in stream
        again = client.get(found(panel) + "/events", headers={"last-event-id": str(len(hosts))}).text
        assert "run-columns" not in again


def test_what_has_ended_is_drawn_once_and_each_run_once(server: str, hosts: list[str]) -> None:
    with seated(server) as client:
        address = found(client.post("/lessons/empty-main/runs", data=form()).text)
        lesson, ids = address.rsplit("/", 1)
        many = ".".join([ids.partition(".")[0]] * 12)
        assert client.get(f"{lesson}/{many}").text.count('aria-label="Rust ') == 1
        stream = client.get(f"{address}/events").text
        assert stream.count('hx-target="#run-columns"') == 1
        assert stream.count('aria-label="Rust ') == len(hosts)


def test_another_seat_sees_nothing_of_it(server: str) -> None:
    with seated(server) as client, seated(server) as other:
        page = client.post("/lessons/empty-main/runs", data=form()).text
        assert other.get(found(page)).status_code == 404
        assert client.get(found(page).replace("empty-main", "no-std")).status_code == 404


def test_a_look_at_one_binary_is_not_compared(server: str) -> None:
    with seated(server) as client:
        looked = form(command="nm target/debug/blog_os", after="0" * 32)
        refused = client.post("/lessons/empty-main/runs", data=looked, headers=HTMX)
        assert refused.status_code == 422
        assert "Choose one compiler" in refused.text


def test_each_compiler_counts_as_a_run(start_server: Callable[..., Server], hosts: list[str]) -> None:
    few = str(len(hosts) - 1)
    server = start_server(
        PLAYGROUND_SEAT_RUNS=f"{few}/minute",
        PLAYGROUND_ADDRESS_RUNS="100/minute",
        PLAYGROUND_TRUSTED_PROXIES='["127.0.0.1"]',
    )
    with seated(server.url, headers={"x-forwarded-for": "203.0.113.7"}) as client:
        refused = client.post("/lessons/empty-main/runs", data=form(), headers=HTMX)
        assert refused.status_code == 429
        assert "Too many runs" in refused.text
        nothing: httpx.Response = client.get("/lessons/empty-main")
        assert "Nothing has run yet." in nothing.text


def found(page: str) -> str:
    address = re.search(r"/lessons/[a-z-]+/comparisons/[0-9a-f.]+", page)
    assert address
    return address[0]
