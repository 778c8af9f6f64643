"""Terminal output as HTML: escaped, complete, and independent of how it is split."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.ansi import Terminal
from bench.pace import processor_time

Cells = list[tuple[str, str]]

_SEQUENCES = st.sampled_from(
    [
        "\x1b[0m",
        "\x1b[1m",
        "\x1b[31m",
        "\x1b[38;5;12m",
        "\x1b[38;2;1;2;3m",
        "\x1b[m",
        "\x1b[2K",
        "\x1b[1;92m",
        "\x1b[39m",
        "\x1b]8;;https://example.org\x1b\\",
        "\x1b]0;title\x07",
        "\x1b(B",
        "\x1b[",
        "\x1b",
        "\x1b]",
        "\r",
        "\r\n",
        "\n",
        "\t",
        *["<script>alert(1)</script>", "&amp;", "'\"", "\x00", "\x9b31m", "\x7f"],
    ]
)
_TERMINAL_TEXT = st.lists(_SEQUENCES | st.text(max_size=8)).map("".join)


class _Cells(HTMLParser):
    """Collects every character with the classes of its parent element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.cells: Cells = []
        self._classes = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if attrs in ([], [("class", "lines")], [("class", "lines many")]):
            return
        assert tag == "span", f"an element that is not ours: {tag}"
        assert [name for name, _ in attrs] == ["class"]
        self._classes = attrs[0][1] or ""

    def handle_endtag(self, tag: str) -> None:
        assert tag in ("span", "div")
        self._classes = ""

    def handle_data(self, data: str) -> None:
        self.cells += [(character, self._classes) for character in data]


def cells(html: str) -> Cells:
    parser = _Cells()
    parser.feed(html)
    parser.close()
    return parser.cells


def text(html: str) -> str:
    return "".join(character for character, _ in cells(html))


def test_colours_become_the_classes_of_their_codes() -> None:
    html = Terminal().feed("\x1b[1m\x1b[31merror\x1b[0m: plain")
    assert html == '<span class="sgr-1 sgr-31">error</span>: plain'


def test_a_colour_left_open_reaches_into_the_next_piece() -> None:
    terminal = Terminal()
    assert terminal.feed("\x1b[32mfirst") == '<span class="sgr-32">first</span>'
    assert terminal.feed("second\x1b[39m.") == '<span class="sgr-32">second</span>.'


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("38;5;9", "sgr-91"),  # the form of rustc's bright colours
        ("38;5;12", "sgr-94"),
        ("38;5;196", "sgr-31"),  # a red of the colour cube becomes the nearest of the sixteen colours
        ("38;5;231", "sgr-97"),
        ("48;5;4", "sgr-44"),
        ("38;2;250;250;250", "sgr-97"),
        ("38;5;12;1", "sgr-94 sgr-1"),
        ("38;5", ""),
        ("38", ""),
        ("1;22", ""),
        ("31;0", ""),
        ("", ""),
        ("99999999999", ""),
    ],
)
def test_one_sequence(codes: str, classes: str) -> None:
    assert cells(Terminal().feed(f"\x1b[{codes}mx")) == [("x", classes)]


def test_markup_is_shown_not_used() -> None:
    assert Terminal().feed("<b>&</b>") == "&lt;b&gt;&amp;&lt;/b&gt;"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a\r\nb", "a\nb"),
        ("10%\r20%", "10%\n20%"),
        ("a\x1b[2Kb", "ab"),
        ("a\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("nul\x00bell\x07del\x7f", "nul␀bell␇del␡"),
        ("\x1b]0;never closed\nnext", "]0;never closed\nnext"),
        ("é🦀", "é🦀"),
    ],
)
def test_what_is_shown(raw: str, shown: str) -> None:
    assert text(Terminal().feed(raw)) == shown


def test_a_sequence_that_never_ends_hides_nothing() -> None:
    terminal = Terminal()
    shown = "".join(text(terminal.feed("\x1b]" + "x" * 900 if not number else "x" * 900)) for number in range(4))
    assert shown.count("x") == 3600


@given(_TERMINAL_TEXT)
def test_any_text_gives_only_spans_with_our_classes(raw: str) -> None:
    html = Terminal().feed(raw)
    for _, classes in cells(html):
        assert re.fullmatch(r"(sgr-\d+( sgr-\d+)*)?", classes)
    assert not re.search(r"<(?!span class=\"[a-z0-9 -]+\">|/span>)", html)


@given(_TERMINAL_TEXT, st.lists(st.integers(min_value=0, max_value=200)))
def test_where_the_text_is_cut_makes_no_difference(raw: str, cuts: list[int]) -> None:
    whole = cells(Terminal().feed(raw))
    terminal = Terminal()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [terminal.feed(raw[begin:end]) for begin, end in pairwise(edges)]
    assert [cell for piece in pieces for cell in cells(piece)] == whole


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\t<>&\"'")))
def test_text_without_escapes_is_unchanged(raw: str) -> None:
    assert text(Terminal().feed(raw)) == raw


@given(_TERMINAL_TEXT, st.lists(st.integers(min_value=0, max_value=200)))
def test_in_blocks_stands_the_same_text(raw: str, cuts: list[int]) -> None:
    whole = cells(Terminal().feed(raw))
    terminal = Terminal()
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    pieces = [terminal.lines(raw[begin:end]) for begin, end in pairwise(edges)]
    assert [cell for piece in pieces for cell in cells(piece)] == whole
    assert all(block.endswith("\n") for block in re.findall(r'<div class="lines">([^<]*)</div>', "".join(pieces)))


def test_whole_lines_stand_in_blocks_and_an_open_line_between_them() -> None:
    terminal = Terminal()
    assert terminal.lines("a\nb") == '<div class="lines">a\n</div><span>b</span>'
    assert terminal.lines("\x1b[31mc") == '<span><span class="sgr-31">c</span></span>'
    assert terminal.lines("d\ne\n") == (
        '<span><span class="sgr-31">d\n</span></span><div class="lines"><span class="sgr-31">e\n</span></div>'
    )
    flood = Terminal().lines("x\n" * 250)
    assert [block.count("\n") for block in flood.split("</div>")] == [100, 100, 50, 0]
    assert flood.count('"lines many"') == 2


@pytest.mark.parametrize("raw", ["\x1b[1m", "\x01", "\x1b", "\r", "\x1b]", "x\x1b[m", "\x1b[38;5;9mx", "x\n"])
def test_a_megabyte_of_anything_costs_little(raw: str) -> None:
    with processor_time() as cost:
        Terminal().lines(raw * (1_000_000 // len(raw)))
    assert cost.seconds < 1
