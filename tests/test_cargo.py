"""Cargo's two streams as events: order, chunking, forged lines, text errors."""

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.events import Diagnostic, Event, Output, from_json, to_json
from app.protocol.visible import plain
from app.run.cargo import CargoReader, PlainReader, joined

BOLD, RED, RESET = "\x1b[1m", "\x1b[91m", "\x1b[0m"


def classify(diagnostic: Diagnostic, source: Literal["rustc", "cargo"]) -> str | None:
    return f"{source}-error" if diagnostic.level == "error" else None


def message(text: str, level: str = "error", **more: object) -> bytes:
    body: dict[str, object] = {
        "message": text,
        "code": None,
        "level": level,
        "spans": [],
        "children": [],
        "rendered": f"{text}!\n",
    }
    return (json.dumps({"reason": "compiler-message", "message": body | more}, separators=(",", ":")) + "\n").encode()


def built(path: str, *, test: bool = False) -> bytes:
    line = {"reason": "compiler-artifact", "profile": {"test": test}, "executable": path}
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()


def finished(*, success: bool) -> bytes:
    return f'{{"reason":"build-finished","success":{str(success).lower()}}}\n'.encode()


def texts(events: list[Event]) -> list[str]:
    return [e.text if isinstance(e, Output) else e.rendered for e in events if isinstance(e, Output | Diagnostic)]


def test_a_message_becomes_a_diagnostic_with_its_class_and_notes() -> None:
    reader = CargoReader(classify)
    [event] = reader.stdout(message("boom", children=[{"message": "ld: duplicate symbol: _start"}]))
    assert isinstance(event, Diagnostic)
    assert (event.message, event.rendered, event.error_class) == ("boom", "boom!\n", "rustc-error")
    assert event.notes == ("ld: duplicate symbol: _start",)


def test_what_the_compiler_would_write_instead_becomes_suggestions() -> None:
    def span(column: int, text: str | None, applicability: str | None) -> dict[str, object]:
        place = {
            "file_name": "src/main.rs",
            "line_start": 6,
            "line_end": 6,
            "column_start": column,
            "column_end": column,
        }
        return {**place, "is_primary": True, "suggested_replacement": text, "suggestion_applicability": applicability}

    sure, unsure, strange = "MachineApplicable", "MaybeIncorrect", "NewWord"
    children = [
        {"message": "wrap it", "spans": [span(3, "unsafe(", sure), span(12, ")", sure)]},
        {"message": "or both", "spans": [span(3, "a", sure), span(5, "b", unsure)]},
        {"message": "or else", "spans": [span(3, "", strange)]},
        {"message": "only a place", "spans": [span(1, None, None)]},
    ]
    [event] = CargoReader(classify).stdout(message("boom", children=children))
    assert isinstance(event, Diagnostic)
    assert [(each.message, each.applicability) for each in event.suggestions] == [
        ("wrap it", sure),
        ("or both", unsure),
        ("or else", strange),
    ]
    assert [(each.column, each.text) for each in event.suggestions[0].replacements] == [(3, "unsafe("), (12, ")")]


def test_cargos_summary_waits_for_the_compilers_messages() -> None:
    reader = CargoReader(classify)
    events = reader.stderr(b"   Compiling blog_os\n")
    events += reader.stderr(f"{BOLD}{RED}error{RESET}: could not compile `blog_os`\n".encode())
    assert texts(events) == ["   Compiling blog_os\n"]
    events += reader.stdout(message("boom") + finished(success=False))
    events += reader.end()
    assert texts(events) == [
        "   Compiling blog_os\n",
        "boom!\n",
        f"{BOLD}{RED}error{RESET}: could not compile `blog_os`\n",
    ]
    assert [event.type for event in events].count("diagnostic") == 1


@pytest.mark.parametrize(
    ("package", "target", "named"),
    [
        ("path+file:///tmp/blog_os#0.1.0", {"kind": ["bin"], "name": "blog_os"}, '`blog_os` (bin "blog_os")'),
        ("path+file:///tmp/crate#kernel@0.1.0", {"kind": ["test"], "name": "boot"}, '`kernel` (test "boot")'),
        ("kernel 0.1.0 (path+file:///tmp/crate)", {"kind": ["lib"], "name": "kernel"}, "`kernel` (lib)"),
        ("kernel 0.1.0 (path+file:///tmp/crate)", {"kind": ["custom-build"], "name": "b"}, "`kernel` (build script)"),
    ],
)
def test_cargos_count_of_warnings_is_said_where_cargo_leaves_it_out(
    package: str, target: dict[str, object], named: str
) -> None:
    def warning(text: str) -> bytes:
        whole = json.loads(message(text, "warning")) | {"package_id": package, "target": target}
        return (json.dumps(whole, separators=(",", ":")) + "\n").encode()

    def said(*lines: bytes, quiet: bool = False) -> list[str]:
        reader = CargoReader(classify, quiet=quiet)
        events = reader.stdout(b"".join(lines)) + reader.stdout(finished(success=True))
        return [plain(text) for text in texts(events + reader.end()) if "generated" in text]

    assert said(warning("unused")) == [f"warning: {named} generated 1 warning\n"]
    assert said(warning("a"), warning("b"), warning("2 warnings emitted"))[0].endswith("generated 2 warnings\n")
    assert said(warning("a"), quiet=True) == []
    assert said(message("boom")) == []


def test_an_error_without_any_json_is_a_diagnostic_and_stands_once() -> None:
    reader = CargoReader(classify)
    events = reader.stderr(b"warning: unused manifest key: build\n")
    events += reader.stderr(f"{BOLD}{RED}error{RESET}: invalid basic string\n --> Cargo.toml:2".encode())
    events += reader.stderr(b":14\n  |\n")
    events += reader.end()
    assert [event.type for event in events] == ["output", "diagnostic"]
    error = events[1]
    assert isinstance(error, Diagnostic)
    assert (error.code, error.spans, error.error_class) == (None, (), "cargo-error")
    assert error.message == "invalid basic string"
    assert error.rendered.endswith(":14\n  |\n")


def test_after_the_build_nothing_is_parsed_and_nothing_waits() -> None:
    reader = CargoReader(classify)
    events = reader.stdout(finished(success=True))
    forged = built("/etc/passwd") + message("forged")
    events += reader.stdout(forged)
    events += reader.stderr(b"error: the program's own")
    assert reader.executables == []
    assert texts(events) == [forged.decode(), "error: the program's own"]


def test_a_programs_output_follows_cargos_running_line() -> None:
    reader = CargoReader(classify, program=True)
    events = reader.stdout(finished(success=True) + b"hello\n")
    assert events == []
    events += reader.stderr(b"    Finished `dev`\n     Running `target/debug/blog_os`\n")
    events += reader.stdout(b"more\n")
    assert texts(events) == ["    Finished `dev`\n     Running `target/debug/blog_os`\n", "hello\n", "more\n"]


def test_a_program_that_is_never_announced_is_shown_at_the_end() -> None:
    reader = CargoReader(classify, program=True)
    assert texts(reader.stdout(finished(success=True) + b"hello\n") + reader.end()) == ["hello\n"]


def test_a_prompt_without_newline_comes_at_once_after_the_build() -> None:
    reader = CargoReader(classify)
    reader.stdout(finished(success=True))
    assert texts(reader.stdout(b"name? ")) == ["name? "]


def test_output_after_the_last_message_in_the_same_chunk_is_kept() -> None:
    reader = CargoReader(classify)
    assert texts(reader.stdout(finished(success=True) + b"hello\nwor") + reader.stdout(b"ld\n")) == [
        "hello\nwor",
        "ld\n",
    ]


def test_tests_are_not_artifacts() -> None:
    reader = CargoReader(classify)
    reader.stdout(built("/t/debug/deps/blog_os-1", test=True) + built("/t/debug/blog_os"))
    assert reader.executables == ["/t/debug/blog_os"]


def test_a_compile_error_of_the_learners_own_has_no_class() -> None:
    line = 'compile_error!("unwinding panics are not supported without std");'
    span = {"file_name": "src/main.rs", "line_start": 1, "line_end": 1, "column_start": 1, "column_end": 65}
    span |= {
        "is_primary": True,
        "label": None,
        "text": [{"text": f"  {line}", "highlight_start": 3, "highlight_end": 65}],
    }
    reader = CargoReader(classify)
    [event] = reader.stdout(message("unwinding panics are not supported without std", spans=[span]))
    assert isinstance(event, Diagnostic)
    assert event.error_class is None
    assert event.spans[0].line == 1


@pytest.mark.parametrize(
    "line", [b'{"reason": 1\n', b"[]\n", b'{"reason":"unheard-of"}\n', b"\xff\xfe\n", b"-C link-args\n"]
)
def test_a_line_that_is_not_a_message_is_shown(line: bytes) -> None:
    reader = CargoReader(classify)
    assert texts(reader.stdout(line)) == [line.decode("utf-8", "replace")]


def test_a_message_with_half_a_surrogate_pair_is_only_shown() -> None:
    line = message("x\ud800")
    assert b"\\ud800" in line
    assert texts(CargoReader(classify).stdout(line)) == [line.decode()]
    for words in ("\U0001f980", r"incorrect escape `\ud800`"):
        [event] = CargoReader(classify).stdout(message(words))
        assert isinstance(event, Diagnostic)
        assert event.message == words
        assert from_json(to_json(event)) == event


@given(st.data())
def test_chunks_do_not_matter(data: st.DataObject) -> None:
    stream = message("übel") + built("/t/debug/blog_os") + finished(success=True) + "grüße\nund mehr".encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = CargoReader(classify)
    events: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += reader.stdout(stream[start:end])
    events += reader.end()
    assert texts(joined(events)) == ["übel!\n", "grüße\nund mehr"]
    assert reader.executables == ["/t/debug/blog_os"]


def test_a_flood_of_lines_is_one_event() -> None:
    reader = CargoReader(classify)
    assert len(reader.stdout(b"x\n" * 1000)) == 1
    assert len(reader.stderr(b"x\n" * 1000)) == 1


def test_other_programs_are_passed_on() -> None:
    reader = PlainReader()
    events = reader.stdout(b"error: not cargo's \xe2") + reader.stdout(b"\x82\xac") + reader.stderr(b"e") + reader.end()
    assert texts(joined(events)) == ["error: not cargo's €", "e"]


def test_plain_takes_the_colours_out() -> None:
    assert plain(f"{BOLD}{RED}error{RESET}: x") == "error: x"
