"""Rendering lesson texts and events as HTML."""

import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from app.course.diagnosis import Diagnosis, ErrorClass
from app.course.lesson import Lesson
from app.protocol.events import (
    UNREAD,
    Advice,
    Artifact,
    Check,
    Diagnostic,
    Event,
    Finished,
    Output,
    Queued,
    Replacement,
    Span,
    Started,
    Suggestion,
    Verdict,
)
from app.web.render import Patch, RunRenderer, environment, fold, inline, markdown, partials, rendered, ticks

NASTY = '<script>alert("x")</script>'


def lesson(slug: str, title: str = "A step") -> Lesson:
    return Lesson(
        slug=slug,
        number=1,
        title=title,
        goal="A goal",
        minutes=3,
        section="A section",
        text="",
        files={"src/main.rs": ""},
        solution={"src/main.rs": ""},
        editable=("src/main.rs",),
        commands=("cargo build",),
        target=None,
        hints=(),
        checks=(),
        advice=(),
        expectations=(),
    )


def renderer(following: Lesson | None = None) -> RunRenderer:
    known = ErrorClass(id="no-core", title="No `core`", means="The *target* is missing.", match=("core",))
    return RunRenderer("ab" * 16, lesson("here"), following, Diagnosis(classes=(known,), advice=()))


def finished(status: str = "ok", **more: object) -> Finished:
    return Finished.model_validate({"status": status, "exit_code": 101, "seconds": 0.424, **more})


def error(**more: object) -> Diagnostic:
    fields = {"level": "error", "code": None, "message": "no `core`", "rendered": "error: no core\n", **more}
    return Diagnostic.model_validate(fields)


def test_every_event_type_has_a_template() -> None:
    names = {kind.model_fields["type"].default for kind in get_args(Event)}
    assert {f"events/{name}.html" for name in names} == {
        name for name in environment().list_templates() if name.startswith("events/")
    }


def test_output_is_appended_with_its_colours_open_across_events() -> None:
    slots = fold(
        renderer(),
        [
            Output(stream="stderr", text="\x1b[31mred"),
            error(rendered="still"),
            Output(stream="stdout", text="\x1b[0m."),
        ],
    )
    assert slots["terminal"] == (
        '<span><span class="sgr-31">red</span></span><span data-error></span>'
        '<span><span class="sgr-31">still</span></span><span>.</span>'
    )


def test_white_space_of_the_terminal_is_kept() -> None:
    assert fold(renderer(), [Output(stream="stdout", text="  \n\n")])["terminal"] == '<div class="lines">  \n\n</div>'


def test_a_patch_names_its_place_and_how_it_is_swapped() -> None:
    assert Patch("terminal", Markup("<i>x</i>"), append=True).partial() == (
        '<hx-partial hx-target="#run-terminal" hx-swap="beforeend"><i>x</i></hx-partial>'
    )
    sent = partials(renderer().patches(finished()))
    assert re.findall(r'hx-target="#run-(\w+)" hx-swap="(\w+)"', sent) == [
        ("elapsed", "innerHTML"),
        ("cancel", "innerHTML"),
    ]


@pytest.mark.parametrize(
    ("event", "slot", "words"),
    [
        (Queued(position=0), "status", "Next in the queue."),
        (Queued(position=1), "status", "1 run is ahead of this one"),
        (Queued(position=3), "status", "3 runs are ahead of this one"),
        (Started(toolchain="1.96", argv=("cargo", "build"), isolation="none"), "status", "Running on Rust 1.96"),
        (
            Started(toolchain="1.97", argv=("cargo",), isolation="none", nightly=True),
            "status",
            "Running on Rust 1.97 nightly",
        ),
        (
            Started(toolchain="1.96", argv=("cargo", "b"), isolation="none", note="Read as `cargo b`, in lower case."),
            "note",
            "Read as <code>cargo b</code>, in lower case.",
        ),
        (Started(toolchain="1.96", argv=("cargo", "a b"), isolation="none"), "command", "cargo &#39;a b&#39;"),
        (
            Started(toolchain="1.96", argv=("cargo", "b"), isolation="none", age=3),
            "note",
            "Same as a run a moment ago.",
        ),
        (
            Started(toolchain="1.96", argv=("cargo", "b"), isolation="none", age=61),
            "note",
            "Same as a run 1 minute ago.",
        ),
        (Started(toolchain="1.96", argv=("cargo", "b"), isolation="none", age=7300), "note", "a run 2 hours ago."),
        (Started(toolchain="1.96", argv=("cargo", "b"), isolation="none", age=9), "note", 'form="bench" name="again"'),
    ],
)
def test_status(event: Event, slot: str, words: str) -> None:
    assert words in fold(renderer(), [event])[slot]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (finished("ok"), "Finished in 0.42 s"),
        (finished("failed"), "Failed with exit code 101 after 0.42 s"),
        (finished("cancelled"), "Cancelled after 0.42 s"),
        (finished("timeout"), "Timed out after"),
        (finished("limit", limit="output"), "it printed too much"),
        (finished("limit", limit="memory"), "it used too much memory"),
    ],
)
def test_the_verdict_says_once_how_the_run_ended(end: Finished, words: str) -> None:
    patches = rendered(renderer(), [end, Verdict(reached=False, checks=())])
    assert [words in patch.html for patch in patches if patch.slot == "status"] == [True]


def test_before_the_start_output_says_what_is_waited_for() -> None:
    events: list[Event] = [Queued(position=0), Output(stream="stderr", text="Setting up the target.\n")]
    slots = fold(renderer(), events)
    assert "Waiting for the target" in slots["status"]
    assert "Setting up the target." in slots["terminal"]
    started = Started(toolchain="1.96", argv=("cargo", "build"), isolation="none")
    slots = fold(renderer(), [*events, started, Output(stream="stderr", text="Compiling\n")])
    assert "Running on Rust 1.96" in slots["status"]


def test_a_diagnostic_stands_beside_what_its_class_means() -> None:
    span = Span(file="src/main.rs", line=4, column=5, end_line=4, end_column=9, primary=True)
    html = fold(renderer(), [error(**{"class": "no-core", "code": "E0463", "spans": (span,)})])["diagnostics"]
    assert 'error <a href="/explain/E0463?toolchain=" data-explain>E0463</a>' in html
    assert "<code>core</code>" in html
    assert "src/main.rs:4:5" in html
    assert "No <code>core</code>" in html
    assert "The <em>target</em> is missing." in html


def test_an_error_of_no_class_is_listed_without_a_meaning() -> None:
    html = fold(renderer(), [error()])["diagnostics"]
    assert "<li" in html
    assert "means" not in html


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("error", "aborting due to 2 previous errors"),
        ("warning", "1 warning emitted"),
        ("failure-note", "For more information about this error, try `rustc --explain E0463`."),
    ],
)
def test_closing_remarks_are_for_the_terminal_only(level: str, message: str) -> None:
    slots = fold(renderer(), [error(level=level, message=message, rendered=message)])
    assert slots["diagnostics"] == ""
    assert "<span>" in slots["terminal"]


def test_the_next_command_can_inspect_an_artifact() -> None:
    event = Artifact(
        path="target/debug/blog_os",
        bytes=1234,
        sha256="00",
        format="ELF",
        machine="ARM",
        entry=0x200DD,
        entry_symbol="_start",
        needed=(),
        interpreter=None,
    )
    slots = fold(renderer(), [event])
    assert f'name="after" value="{"ab" * 16}"' in slots["after"]
    assert "<code>0x200dd</code> <code>_start</code>" in slots["artifact"]
    assert fold(renderer(), [event.model_copy(update={"entry": None})])["artifact"].count("none") == 3


def test_an_unreadable_artifact_is_not_described() -> None:
    event = Artifact(
        path="target/debug/blog_os",
        bytes=1234,
        sha256="00",
        format=UNREAD,
        machine="",
        entry=None,
        entry_symbol=None,
        needed=(),
        interpreter=None,
    )
    shown = fold(renderer(), [event])["artifact"]
    assert "could not be read" in shown
    assert "none" not in shown


@pytest.mark.parametrize(
    ("reached", "status", "headline"),
    [
        (True, "ok", "Goal reached."),
        (True, "failed", "This is the error we came for."),
        (False, "failed", "Not there yet."),
        (False, "ok", "Not there yet."),
        (False, "cancelled", "Cancelled."),
    ],
)
def test_headline(reached: bool, status: str, headline: str) -> None:
    slots = fold(renderer(), [finished(status), Verdict(reached=reached, checks=())])
    assert headline in slots["verdict"]


def test_a_run_that_a_restart_ended_says_so_and_that_it_is_not_kept_if_it_is_not() -> None:
    end = Finished(status="cancelled", exit_code=None, seconds=0.5, reason="restarted")
    checks = (Check(id="a", title="t", ok=False, detail="d"),)
    slots = fold(renderer(), [end, Verdict(reached=False, checks=checks, stored=False)])
    for slot in ("status", "verdict"):
        assert "The playground was restarted. Run again." in slots[slot]
        assert "Cancelled" not in slots[slot]
        assert "You stopped" not in slots[slot]
    assert "This result is not kept" in slots["verdict"]
    assert "not kept" not in fold(renderer(), [end, Verdict(reached=False, checks=checks)])["verdict"]


def test_an_exit_code_that_was_the_goal_is_no_error(lessons: dict[str, Lesson]) -> None:
    step = RunRenderer("ab" * 16, lessons["boot-x86"], None, Diagnosis(classes=(), advice=()))
    end = Finished(status="failed", exit_code=33, seconds=0.5)
    slots = fold(step, [end, Verdict(reached=True, checks=())])
    assert "Goal reached." in slots["verdict"]
    assert "Exit code 33 as expected after 0.50 s" in slots["status"]


def test_a_verdict_shows_each_check_and_the_advice() -> None:
    checks = (
        Check(id="a", title="It built `core`", ok=True),
        Check(id="b", title="It links", ok=False, detail="Seen: nothing."),
    )
    verdict = Verdict(reached=False, checks=checks, advice=(Advice(id="c", text="Try **this**."),))
    html = fold(renderer(lesson("next")), [finished("failed"), verdict])["verdict"]
    assert html.count('<li class="ok">') == 1
    assert html.count('<li class="open">') == 1
    assert "It built <code>core</code>" in html
    assert "Seen: nothing." in html
    assert "Try <strong>this</strong>." in html
    assert "/lessons/next" not in html


def test_a_detour_of_the_text_is_answered_as_what_it_is() -> None:
    checks = (Check(id="a", title="It links", ok=False, detail="Seen: nothing."),)
    verdict = Verdict(reached=False, checks=checks, detour=Advice(id="c", text="It *only* checks."))
    html = fold(renderer(lesson("next")), [finished(), verdict])["verdict"]
    assert "It <em>only</em> checks." in html
    assert "Seen: nothing." not in html
    assert "Not there yet" not in html


def test_a_goal_reached_earlier_stays_reached(lessons: dict[str, Lesson]) -> None:
    step = RunRenderer(
        "ab" * 16, lessons["no-std"], lessons["empty-main"], Diagnosis(classes=(), advice=()), earlier=True
    )
    missed = Verdict(
        reached=False,
        checks=(Check(id="a", title="It fails", ok=False, detail="No error was seen."),),
        advice=(Advice(id="b", text="Do it."),),
    )
    html = fold(step, [finished(), missed])["verdict"]
    assert "Goal reached earlier" in html
    assert "Not there yet" not in html
    assert "<details>" in html, "its advice is not unfolded"
    assert ": An empty" in html


def test_files_are_only_carried_where_the_next_step_starts_with_them(lessons: dict[str, Lesson]) -> None:
    verdict = Verdict(reached=True, checks=())
    for here, there, carried in (("no-std", "empty-main", True), ("cargo-config", "summary", False)):
        step = RunRenderer("ab" * 16, lessons[here], lessons[there], Diagnosis(classes=(), advice=()))
        html = fold(step, [finished(), verdict])["verdict"]
        assert ("/carry" in html) == carried, here
        assert ("starts with its own files" in html) != carried, here


def test_a_command_that_no_check_is_about_gets_no_verdict(lessons: dict[str, Lesson]) -> None:
    step = RunRenderer("ab" * 16, lessons["look-inside"], None, Diagnosis(classes=(), advice=()))
    started = Started(toolchain="1.96", argv=("cargo", "build"), isolation="none")
    missed = Verdict(reached=False, checks=(Check(id="a", title="t", ok=False, detail="d"),))
    html = fold(step, [started, finished(), missed])["verdict"]
    assert "Your goal is checked when you run <code>objdump</code>" in html


def test_what_several_checks_found_is_said_once() -> None:
    checks = tuple(Check(id=each, title=each, ok=False, detail="No executable was built.") for each in "abc")
    html = fold(renderer(), [finished("failed"), Verdict(reached=False, checks=checks)])["verdict"]
    assert html.count('<span class="detail">No executable was built.</span>') == 1


@pytest.mark.parametrize(
    ("status", "title", "words"),
    [
        ("cancelled", "Cancelled.", "You stopped the run"),
        ("timeout", "Timed out.", "took too long"),
        ("limit", "Stopped.", "stopped at a limit"),
    ],
)
def test_a_run_that_was_ended_is_not_told_that_it_missed_its_goal(status: str, title: str, words: str) -> None:
    missed = Verdict(reached=False, checks=(Check(id="a", title="t", ok=False, detail="d"),))
    html = fold(renderer(), [finished(status, limit="cpu" if status == "limit" else None), missed])["verdict"]
    assert title in html
    assert words in html
    assert "Not there yet" not in html


def test_a_reached_goal_leads_on() -> None:
    verdict = Verdict(reached=True, checks=())
    html = fold(renderer(lesson("next", "No `main`")), [finished(), verdict])["verdict"]
    assert 'href="/lessons/next"' in html
    assert 'action="/lessons/next/carry"' in html
    assert 'name="from" value="here"' in html
    assert "last step" in fold(renderer(), [finished(), verdict])["verdict"]


@pytest.mark.parametrize(
    "event",
    [
        Started(toolchain=NASTY, argv=(NASTY,), isolation="none"),
        Output(stream="stdout", text=NASTY),
        error(message=NASTY, rendered=NASTY, code=NASTY, level="error" + NASTY),
        Artifact(
            path=NASTY,
            bytes=1,
            sha256=NASTY,
            format=NASTY,
            machine=NASTY,
            entry=1,
            entry_symbol=NASTY,
            needed=(NASTY,),
            interpreter=NASTY,
        ),
        Verdict(
            reached=False,
            checks=(Check(id="a", title=NASTY, ok=False, detail=NASTY),),
            advice=(Advice(id="a", text=NASTY),),
        ),
    ],
)
def test_nothing_of_an_event_is_used_as_markup(event: Event) -> None:
    sent = partials(renderer().patches(event))
    assert "&lt;script&gt;" in sent
    assert "<script" not in sent


def test_markdown_gives_headings_an_id_and_keeps_h1_for_the_page() -> None:
    html = markdown("# What `no_std` *does*\n\n## A\n\n## A\n")
    assert '<h2 id="what-no-std-does">What <code>no_std</code>' in html
    assert '<h2 id="a">' in html
    assert '<h2 id="a-2">' in html
    assert "<h1" not in html


def test_markdown_shows_html_and_marks_links_and_lets_code_scroll() -> None:
    assert "&lt;b&gt;" in markdown("<b>x</b>")
    assert '<a href="https://example.org" rel="noopener">' in markdown("[x](https://example.org)")
    assert '<pre tabindex="0"><code class="language-rust">a &lt; b\n</code></pre>' in markdown("```rust\na < b\n```")
    assert "<table>" in markdown("| a |\n|---|\n| b |\n")


@given(st.text())
def test_any_markdown_is_safe(raw: str) -> None:
    for html in (markdown(raw), inline(raw)):
        assert not re.search(r"<(script|style|iframe|object|form)|javascript:[^<]*\">", html)


@given(st.text(alphabet="ab`<&"))
def test_ticks_lose_no_character_but_the_ticks(raw: str) -> None:
    html = ticks(raw)
    assert re.sub(r"</?code>", "", html).replace("`", "") == Markup.escape(raw).replace("`", "")


def test_places_and_codes_in_the_terminal_are_links() -> None:
    log: list[Event] = [
        Started(toolchain="1.96", argv=("cargo", "build"), isolation="none"),
        Output(stream="stderr", text=" --> src/main.rs:4:5\nnot/src/main.rs:4:5 main.rs:1 <E0463> E0463x xE0463\n"),
    ]
    html = fold(renderer(), log)["terminal"]
    place = '<a href="#tab-1" data-file="src/main.rs" data-line="4" data-column="5">src/main.rs:4:5</a>'
    code = '<a href="/explain/E0463?toolchain=1.96" data-explain>E0463</a>'
    said = f" --&gt; {place}\nnot/src/main.rs:4:5 main.rs:1 &lt;{code}&gt; E0463x xE0463\n"
    assert html == f'<div class="lines">{said}</div>'


def test_only_what_the_compiler_is_sure_of_is_offered_as_a_fix() -> None:
    def proposal(file: str, applicability: str) -> Suggestion:
        there = Replacement(file=file, line=1, column=1, end_line=1, end_column=4, text='"<b>"')
        return Suggestion(message="write `this`", applicability=applicability, replacements=(there,))

    sure = proposal("src/main.rs", "MachineApplicable")
    proposals = (sure, proposal("src/main.rs", "MaybeIncorrect"), proposal("/rustc/core.rs", "MachineApplicable"))
    html = fold(renderer(), [error(suggestions=proposals)])["diagnostics"]
    assert html.count("data-fix=") == 1
    assert "The compiler suggests: write <code>this</code>" in html
    assert "<b>" not in html


def test_a_linkers_command_folds_and_says_who_supplies_start() -> None:
    command = '"cc" "-m64" "/tmp/x/symbols.o" "<1 object files omitted>" "-pie" "-o" "/playground/blog_os"'
    notes = (f" {command}", "ld: /usr/lib/Scrt1.o:(.text+0x0): first defined here")
    rendered = f"error: linking with `cc` failed\n  = \x1b[1mnote\x1b[0m:  {command}\n  = note: {notes[1]}\n"
    html = fold(renderer(), [error(message="linking with `cc` failed", rendered=rendered, notes=notes)])["terminal"]
    assert html.count("<details") == 1
    assert "&lt;1 object files omitted&gt;" in html
    assert "<code>Scrt1.o</code>, an object file of the C library" in html
    assert "<code>/usr/lib/Scrt1.o</code>" in html
    assert html.index("<details") < html.index("first defined here")


def loud(text: str) -> Event:
    return Output(stream="stdout", text=text)


def message(text: str = "x", **parts: object) -> Event:
    return Diagnostic.model_validate({"level": "error", "code": None, "message": text, "rendered": text, **parts})


PLACE = {"file": "src/main.rs", "line": 1, "column": 1, "end_line": 1, "end_column": 1}
SPAN = PLACE | {"primary": True}
FLOODS: dict[str, list[Event]] = {
    "colours": [loud("".join(f"\x1b[3{n % 8}mx\x1b[0m" for n in range(100_000)))],
    "a wide letter": [loud("\x1b[1;2;3;4;7;9;41m" + "".join(f"\x1b[3{n % 8}m\U0001f600" for n in range(170_000)))],
    "small pieces": [loud("<" * 100)] * 10_000,
    "lines": [loud("\n" * 1_000_000)],
    "links": [loud("E0001 " * 170_000)],
    "messages": [message()] * 3_000,
    "long messages": [message('"' * 250_000)] * 4,
    "spans": [message(spans=[SPAN] * 8_000)],
    "fixes": [
        message(
            suggestions=[
                {
                    "message": "x",
                    "applicability": "MachineApplicable",
                    "replacements": [PLACE | {"text": '"' * 100}] * 50,
                }
            ]
            * 100
        )
    ],
    "a linker's command": [message("linking", notes=['"cc" "-o" "x" ' + '"a" ' * 60_000])],
}


@pytest.mark.parametrize("events", FLOODS.values(), ids=FLOODS)
def test_a_panel_is_bounded_for_any_output(events: list[Event]) -> None:
    started = Started(toolchain="1.96", argv=("cargo", "run"), isolation="none")
    log = [event.numbered(number) for number, event in enumerate([started, *events], 1)]
    drawn = fold(renderer(), log)
    assert sum(len(html.encode()) for html in drawn.values()) < 4_000_000
    one = renderer()
    one_by_one = [patch for event in log for patch in one.patches(event)]
    assert sum(len(patch.html.encode()) for patch in one_by_one) < 4_000_000


def test_omitted_output_is_announced_once_and_can_be_read() -> None:
    log = [loud("x" * 100_000), loud("y" * 200_000), loud("z"), message("told"), loud("z")]
    one = renderer()
    html = "".join(patch.html for event in log for patch in one.patches(event))
    assert (html.count("x") >= 100_000, html.count("zz"), html.count("y") < 170_000) == (True, 0, True)
    assert html.count(f'href="/runs/{"ab" * 16}/output"') == 1
    assert "told" in html, "a message stands in the list all the same"


def test_the_list_of_messages_ends_with_a_sentence() -> None:
    one = renderer()
    html = [fold(one, [message()]).get("diagnostics", "") for _ in range(5_000)]
    assert sum("The list ends here" in each for each in html) == 1
    assert html[-1] == ""


def test_a_command_that_reads_a_missing_build_says_what_to_build() -> None:
    started = Started(toolchain="1.96", argv=("readelf", "-h", "target/debug/blog_os"), isolation="none")
    failed = fold(renderer(), [started, finished("failed"), Verdict(reached=False, checks=())])["verdict"]
    assert "Build the file that it names" in failed
    read = fold(renderer(), [started, finished("ok"), Verdict(reached=False, checks=())])["verdict"]
    assert "No verdict for this command." in read
