"""The matrix page of ``lessons check --report``."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from app.course import Course
from app.course.prove import CourseReport, Proof, keep_report, last_report
from app.web.report import report_page
from tests.support.clients import seated
from tests.support.server import Server

NOW = datetime(2026, 5, 4, 3, 2, tzinfo=UTC)
STYLE = ".matrix td { color: red }"


def made(taught: Course, *proofs: Proof) -> str:
    return report_page((taught,), CourseReport(NOW, proofs), STYLE)


def test_a_nightly_is_called_one(taught: Course) -> None:
    html = report_page((taught,), CourseReport(NOW, (said("1.96"), said("1.97")), ("1.97",)), STYLE)
    assert re.findall(r'<th scope="col">Rust ([^<]+)', html) == ["1.97 nightly", "1.96"]


def said(toolchain: str, *classes: str, problems: tuple[str, ...] = ()) -> Proof:
    return Proof("no-std", toolchain, "solution", "cargo build", problems, classes)


def test_there_is_a_column_for_each_compiler_and_the_date(taught: Course) -> None:
    html = made(taught, said("1.63"), said("1.100"), said("1.96"))
    assert re.findall(r'<th scope="col">Rust ([\d.]+)', html) == ["1.100", "1.96", "1.63"]
    assert "2026-05-04 at 03:02 UTC" in html
    assert "all as the lessons say" in html
    assert "class=differ" not in html


def test_the_matrix_shows_differences_between_compilers_and_wrong_lessons(taught: Course) -> None:
    wrong = said("1.96", "unwinding-unsupported", problems=("Not <seen>.",))
    html = made(taught, said("1.63", "eh-personality-missing"), wrong)
    assert "class=differ" in html
    assert "class=failed" in html
    assert "Not &lt;seen&gt;." in html
    assert "1 not as the lessons say" in html


def test_the_page_needs_nothing_else_and_names_no_machine(taught: Course) -> None:
    html = made(taught, said("1.96"))
    assert not re.search(r"\b(src|href)=|/root|/tmp|<script", html)
    assert STYLE in html


def test_what_was_proven_last_is_a_page_of_the_course(start_server: Callable[..., Server], tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start_server(data)
    with seated(server.url) as client:
        assert client.get("/compilers").status_code == 404
        assert "/compilers" not in client.get("/").text
        wrong = said("1.96", "unwinding-unsupported", problems=("Not <seen>.",))
        report = CourseReport(NOW, (said("1.63", "eh-personality-missing"), wrong), ("1.97",))
        keep_report(data, report)
        assert last_report(data) == report
        assert "as tested here on 2026-05-04" in client.get("/").text
        html = client.get("/compilers").text
        assert "class=differ" in html
        assert "Not &lt;seen&gt;." in html
        (data / "compilers.json").write_text('{"at": 5}')
        assert client.get("/compilers").status_code == 404
