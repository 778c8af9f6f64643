"""Lesson texts: recorded outputs side by side, glossary terms at their first use."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from app.course import Course
from app.course.files import CourseError
from app.course.glossary import Glossary, Term, load_glossary
from app.course.lesson import Lesson
from app.course.prove import reference_problems
from app.course.quotation import quotes
from app.course.recordings import Recording, RecordingKey
from app.protocol.events import Diagnostic, Output
from app.web.prose import markdown, prose

WORDS = (
    Term(id="linker", name="linker", match=("linkers",), means="Joins *pieces*."),
    Term(id="runtime", name="runtime", means="Runs <first>."),
)
FENCE = '```recorded solution "cargo build"{}\n```\n'


@pytest.fixture
def glossary(taught: Course) -> Glossary:
    return taught.glossary


def run(version: str, rendered: str, command: str = "cargo build") -> Recording:
    said = Diagnostic(level="error", code=None, message="m", rendered=rendered)
    return Recording.of(RecordingKey("solution", command, version, "x86_64-unknown-linux-gnu", "system"), (said,))


def step(lessons: dict[str, Lesson], text: str, *recordings: Recording) -> Lesson:
    return replace(lessons["no-std"], text=text, recordings=recordings)


def columns(html: str) -> list[str]:
    """The compilers that a quotation has a tab for, or its one caption."""
    return re.findall(r'<(?:figcaption|label for="recorded-[0-9-]+")>(.*?)</(?:figcaption|label)>', html)


def test_what_now_and_then_printed_has_a_tab_each_in_the_terminals_colours(lessons: dict[str, Lesson]) -> None:
    runs = run("1.96.0", "\x1b[91merror\x1b[0m: <new>\n"), run("1.95.0", "between\n"), run("1.63.0", "old\n")
    html = prose(step(lessons, FENCE.format(""), *runs))
    assert columns(html) == ["Rust 1.96", 'Rust 1.63 <span class="soft">from the time of the post</span>']
    assert '<span class="sgr-91">error</span>' in html
    assert "&lt;new&gt;" in html
    assert "between" not in html


def test_one_column_is_shown_when_both_say_the_same(lessons: dict[str, Lesson]) -> None:
    runs = run("1.96.0", "\x1b[91merror\x1b[0m: no\n"), run("1.63.0", "\x1b[31merror\x1b[0m: no\n")
    html = prose(step(lessons, FENCE.format(""), *runs))
    assert columns(html) == ['Rust 1.96 and 1.63 <span class="soft">from the time of the post</span>']


def test_a_text_can_choose_the_compilers(lessons: dict[str, Lesson]) -> None:
    runs = run("1.96.0", "GNU\n"), run("1.95.0", "LLD\n"), run("1.63.0", "old\n")
    assert columns(prose(step(lessons, FENCE.format(" 1.95 1.96"), *runs))) == ["Rust 1.95", "Rust 1.96"]


def test_an_observation_is_not_called_output(lessons: dict[str, Lesson]) -> None:
    html = prose(lessons["hello-without-libc"])
    assert '<span class="soft">as the playground observed it</span>' in html
    assert re.search(r'aria-label="Rust 1.96[^"]*: what was observed of cargo run"', html)


def test_what_readelf_and_its_kin_print_keeps_its_columns(lessons: dict[str, Lesson]) -> None:
    what = run("1.96.0", "", command="nm it").what
    nm = Recording.of(what, (Output(stream="stdout", text="00 T _start\n"),))
    assert '<pre class="terminal table"' in prose(step(lessons, '```recorded solution "nm it"\n```', nm))
    assert '<pre class="terminal"' in prose(step(lessons, FENCE.format(""), run("1.96.0", "no\n")))


def test_the_outcome_is_folded_and_an_excerpt_offers_the_rest(lessons: dict[str, Lesson]) -> None:
    said = run("1.96.0", "one\ntwo\nthree\n")
    html = prose(step(lessons, FENCE.format(' from "two" to "two"'), said))
    assert '<details class="recorded" data-expects="cargo build">' in html
    assert html.count("<details") == html.count("</details>") == 2
    assert "All 3 lines" in html
    other = replace(said, what=replace(said.what, command="cargo fetch"))
    assert "data-expects" not in prose(step(lessons, '```recorded solution "cargo fetch"\n```', other))


def test_a_command_can_be_run_and_a_part_of_the_solution_inserted(lessons: dict[str, Lesson]) -> None:
    blocks = {
        "console\ncargo build": 'name="offered" value="cargo build"',
        "rust\n#![no_std]": 'formaction="/lessons/no-std/insert#bench"',
        "rust\nfn other() {}": None,
        "console\nmake coffee": None,
    }
    for block, button in blocks.items():
        html = prose(step(lessons, f"```{block}\n```\n"))
        assert "data-copies" in html
        assert button in html if button else 'form="bench"' not in html, block


def test_code_is_coloured_and_stays_the_same_text(lessons: dict[str, Lesson]) -> None:
    html = prose(step(lessons, "```rust\n#![no_std]\nfn main() { let x = a < b; }\n```\n"))
    assert '<span class="tok-macro">#![no_std]</span>' in html
    assert '<span class="tok-keyword">fn</span>' in html
    assert "&lt;" in html


def test_a_missing_recording_is_reported(lessons: dict[str, Lesson]) -> None:
    html = prose(step(lessons, FENCE.format("")))
    assert "What <code>cargo build</code> prints has not been recorded yet." in html
    assert "recorded solution" in prose(step(lessons, "```recorded cargo\n```"))


def test_the_check_names_quotations_that_nothing_proves(lessons: dict[str, Lesson]) -> None:
    text = '```recorded solution "cargo test"\n```\n\n```recorded x\n```\n\n' + FENCE.format(' from "never said"')
    wrong = step(lessons, text, run("1.96.0", "said\n"))
    problems = reference_problems([wrong])
    assert any("no expectation runs 'cargo test' on solution/" in problem for problem in problems)
    assert any("text.md: 'recorded x'" in problem for problem in problems)
    assert any("the recording of 1.96 has no such lines" in problem for problem in problems)


def test_every_quotation_of_the_course_has_something_to_show(lessons: dict[str, Lesson]) -> None:
    assert sum(len(quotes(lesson.text)) for lesson in lessons.values()) >= 2
    for lesson in lessons.values():
        assert "has not been recorded" not in prose(lesson), lesson.slug


def test_the_first_use_of_a_word_shows_what_it_means_and_later_ones_do_not(lessons: dict[str, Lesson]) -> None:
    html = prose(step(lessons, "## The linker\n\n[linker](x) `linker` Linkers link. The linker."), WORDS, "/below")
    assert html.count('class="term"') == 1
    assert '<a href="/below/glossary#linker" aria-describedby="term-linker">Linkers</a>' in html
    assert '<span class="tip" role="tooltip" id="term-linker">Joins <em>pieces</em>.</span>' in html
    assert "The linker.</p>" in html


def test_a_word_that_the_text_explains_in_bold_needs_no_more(lessons: dict[str, Lesson]) -> None:
    html = prose(step(lessons, "A **linker** joins. The linker and the runtime."), WORDS)
    assert html.count('class="term"') == 1
    assert "Runs &lt;first&gt;." in html


def test_a_word_inside_of_another_is_none(lessons: dict[str, Lesson]) -> None:
    assert 'class="term"' not in prose(step(lessons, "blinkers, linker-like, interlinker"), WORDS)


def test_the_course_names_its_words_and_each_lesson_exists(lessons: dict[str, Lesson], glossary: Glossary) -> None:
    wanted = {"ABI", "bare metal", "calling convention", "crt0", "dynamic linking", "entry point", "language item"}
    wanted |= {"linker", "loader", "name mangling", "panic handler", "profile", "runtime", "section", "static linking"}
    wanted |= {"symbol", "target triple", "unwinding", "vector table", "diverging function", "attribute"}
    assert wanted <= {term.name for term in glossary}
    assert {term.lesson for term in glossary if term.lesson} <= set(lessons)
    marked = [lesson for lesson in lessons.values() if 'class="term"' in prose(lesson, glossary)]
    assert len(marked) > 10


def test_a_word_stands_once(tmp_path: Path) -> None:
    term = '[[term]]\nid = "{}"\nname = "Linker"\nmeans = "m"\n'
    (tmp_path / "glossary.toml").write_text(term.format("a") + term.format("b"))
    with pytest.raises(CourseError, match="'linker' occurs twice"):
        load_glossary(tmp_path / "glossary.toml")


def test_a_program_gets_the_text_with_what_it_quotes_and_without_buttons(lessons: dict[str, Lesson]) -> None:
    runs = run("1.96.0", "\x1b[91merror\x1b[0m: new\n"), run("1.63.0", "error: old\n")
    code, button = "```rust\nfn main() {}\n```\n", "```offer edition-2024\nTry\n```\n"
    text = f"Give it.\n\n{FENCE.format('')}\n{code}\n{button}\nThen go on.\n"
    read = markdown(step(lessons, text, *runs))
    assert "Rust 1.96:\n\n```text\nerror: new\n```\n\nRust 1.63:\n\n```text\nerror: old\n```\n" in read
    assert code in read
    assert "offer" not in read
    assert read.endswith("Then go on.\n")


def test_no_fence_of_the_lesson_format_reaches_a_program(lessons: dict[str, Lesson]) -> None:
    for lesson in lessons.values():
        read = markdown(lesson)
        assert "```recorded" not in read
        assert "```offer" not in read
        assert read.count("```") % 2 == 0
        assert read.count("```text") >= len(quotes(lesson.text)), lesson.slug
