"""The card as the page draws it: a complete bar, code under its source, differences in words."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from markupsafe import escape

from app.binary.model import BinaryFacts, Call, Card, Code, Instruction, Section, Symbols
from app.binary.reading import examine
from app.course.lesson import Lesson
from app.engine import ArtifactDetails, EarlierArtifact, HelloWorldSize, JobSpec
from app.protocol.command import parse
from app.protocol.events import Artifact
from app.toolchain import Toolchain
from app.web.card import shares, view
from app.web.render import page
from tests.support.jobs import job as job_of
from tests.support.programs import BARE, compile_with

HOSTILE = '"><script>alert(1)</script>'
FACTS = BinaryFacts("ELF", "ARM", 0x200E5, "_start", (), None, ())


StepView = Callable[[ArtifactDetails], str]


def card(**changes: object) -> Card:
    parts: dict[str, object] = {"facts": FACTS, "bytes": 1000, "sections": (Section(".text", "code", 10, 0x200E4),)}
    return Card(**parts | changes)  # type: ignore[arg-type]  # the test names the fields


@pytest.fixture
def job(lessons: dict[str, Lesson], toolchains: tuple[Toolchain, ...]) -> JobSpec:
    return job_of(lessons["bare-metal"], {"src/main.rs": "one\ntwo\n"}, parse("cargo build"), toolchains[0])


def inside(
    job: JobSpec, shown: Card, *, std: HelloWorldSize | None = None, earlier: tuple[EarlierArtifact, ...] = ()
) -> ArtifactDetails:
    facts = {name: getattr(shown.facts, name) for name in ("format", "machine", "entry", "entry_symbol", "needed")}
    event = Artifact(path="target/debug/x", bytes=shown.bytes, sha256="0", interpreter=None, **facts)
    return ArtifactDetails("0" * 32, job, event, shown, std, earlier)


@pytest.fixture
def step_view(lessons: dict[str, Lesson]) -> StepView:
    def html(look: ArtifactDetails) -> str:
        return page(
            "_inside.html", root="", inside=look, card=look.card, view=view(look, lambda slug, _course: lessons[slug])
        )

    return html


def test_the_shares_fill_the_bar_and_each_is_wide_enough_to_see() -> None:
    sections = (Section("a", "code", 1), Section("b", "debug", 999_000), Section("c", "names", 500))
    found = list(shares(card(bytes=1_000_000, sections=sections)))
    assert [share.kind for share in found] == ["code", "names", "debug", "other"]
    assert min(share.width for share in found) >= 3
    assert found[0].start == 0
    assert found[-1].start + found[-1].width == pytest.approx(1000, abs=1)
    assert [share.bytes for share in found] == [1, 500, 999_000, 499]


def unasked(slug: str, _course: str) -> Lesson:
    raise AssertionError(f"nobody compares with {slug}")


def test_instructions_stand_under_their_line_of_the_source(job: JobSpec) -> None:
    places = (("src/main.rs", 1), ("src/main.rs", 1), ("src/main.rs", 9), (None, None))
    code = Code("_start", tuple(Instruction(n, "00", "nop", None, *place) for n, place in enumerate(places)), False)
    found = view(inside(job, card(code=code)), unasked).passages
    assert [(one.place, one.text, len(one.instructions)) for one in found] == [
        ("src/main.rs:1", "one", 2),
        ("src/main.rs:9", None, 1),
        (None, None, 1),
    ]


@pytest.mark.parametrize(
    ("size", "words"),
    [(10, "1/100 of"), (500, "50% of"), (1000, "about as large as"), (9000, "larger than")],
)
def test_the_size_is_measured_against_the_std_program(job: JobSpec, step_view: StepView, size: int, words: str) -> None:
    assert f"It is {words} the std hello world: 1,000 bytes" in step_view(
        inside(job, card(bytes=size), std=HelloWorldSize(1000, "1.96", "debug"))
    )


def test_changes_are_described_with_the_names_of_the_bar(job: JobSpec, step_view: StepView) -> None:
    before = card(bytes=2000, calls=(Call("_start", "entry", 1), Call("main", "calls", 2)))
    earlier = EarlierArtifact("1" * 32, job.course, "hello-std", before)
    html = step_view(inside(job, card(calls=(Call("_start", "entry", 1),)), earlier=(earlier,)))
    assert "Since your build in" in html
    assert "<del>_start → main</del>" in html
    assert "\N{MINUS SIGN}1,000" in html
    assert "headers and gaps" in html
    same = EarlierArtifact("1" * 32, job.course, job.lesson, card())
    assert "Nothing shown here has changed." in step_view(inside(job, card(), earlier=(same,)))


def test_nothing_of_a_hostile_file_becomes_markup(job: JobSpec, step_view: StepView) -> None:
    facts = BinaryFacts("ELF", HOSTILE, 1, HOSTILE, (HOSTILE,), HOSTILE, (HOSTILE,), HOSTILE)
    code = Code(HOSTILE, (Instruction(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1),), True)
    symbols = Symbols(1, 1, (), (HOSTILE,))
    calls = (Call(HOSTILE, "entry", 1), Call(HOSTILE, "names"))
    shown = card(facts=facts, sections=(Section(HOSTILE, "code", 1),), code=code, symbols=symbols, calls=calls)
    html = step_view(inside(job, shown, earlier=(EarlierArtifact("1", job.course, "hello-std", card()),)))
    assert "<script>" not in html
    assert str(escape(HOSTILE)) in html


def test_a_real_card_can_be_drawn(bare_metal: Toolchain, tmp_path: Path, job: JobSpec, step_view: StepView) -> None:
    flags = ("-g", "-Cpanic=abort", "--target", "thumbv7em-none-eabihf")
    html = step_view(inside(job, examine(io.BytesIO(compile_with(bare_metal, tmp_path, BARE % "_start", *flags)))))
    assert "Nothing. The first instruction is the first of <code>_start</code>" in html
    assert 'role="img" aria-label="machine code: ' in html
    assert "style=" not in html
