"""Error classes: order, source, spans, and a clear error for a broken file."""

from pathlib import Path

import pytest

from app.course.diagnosis import Diagnosis, load_diagnosis
from app.course.files import CourseError
from app.protocol.events import Diagnostic, Span

SPAN = Span(file="src/main.rs", line=1, column=1, end_line=1, end_column=2, primary=True)


def diagnostic(message: str, *notes: str, code: str | None = None, spans: tuple[Span, ...] = ()) -> Diagnostic:
    return Diagnostic(level="error", code=code, message=message, rendered="", notes=notes, spans=spans)


def test_the_classes_of_the_contract_are_there(diagnosis: Diagnosis) -> None:
    ids = [known.id for known in diagnosis.classes]
    wanted = (
        "macro-not-in-scope panic-handler-missing unwinding-unsupported eh-personality-missing start-lang-item "
        "unsafe-attribute link-undefined-main link-duplicate-start core-not-found panic-impl-duplicate "
        "lang-item-unstable manifest-invalid"
    )
    assert set(wanted.split()) <= set(ids)
    assert ids.index("link-duplicate-start") < ids.index("link-undefined-main")


def test_one_link_diagnostic_with_both_is_the_duplicate(diagnosis: Diagnosis) -> None:
    note = "multiple definition of `_start'; Scrt1.o: first defined here\nundefined reference to `main'"
    found = diagnosis.classify(diagnostic("linking with `cc` failed: exit status: 1", note), "rustc")
    assert found == "link-duplicate-start"


def test_what_cannot_be_stripped_was_linked(diagnosis: Diagnosis) -> None:
    found = diagnosis.classify(
        diagnostic("unable to run `rust-objcopy`: No such file or directory (os error 2)"), "rustc"
    )
    assert found == "strip-tool-not-found"


def test_a_message_with_a_span_never_matches_a_class_without_spans(diagnosis: Diagnosis) -> None:
    text = "unwinding panics are not supported without std"
    assert diagnosis.classify(diagnostic(text), "rustc") == "unwinding-unsupported"
    assert diagnosis.classify(diagnostic(text, spans=(SPAN,)), "rustc") is None


def test_only_errors_have_classes(diagnosis: Diagnosis) -> None:
    warning = diagnostic("unwinding panics are not supported without std").model_copy(update={"level": "warning"})
    assert diagnosis.classify(warning, "rustc") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[class]]\nid = 'x'", "title"),
        (
            "[[class]]\nid='x'\ntitle='t'\nmeans='m'\nmatch=['(']",
            "match.0: Value error, `(` is not a regular expression that RE2 accepts: missing ): (",
        ),
        ("[[class]]\nid='x'\ntitle='t'\nmeans='m'\nmatch=['a']\nmatched=1", "matched"),
        ("[[class]]\nid='x'\ntitle='t'\nmeans='m'\nmatch=['a']\n" * 2, "the same id"),
        ("[[class", "errors.toml"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "errors.toml"
    path.write_text(text)
    with pytest.raises(CourseError) as refused:
        load_diagnosis(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)
