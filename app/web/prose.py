"""Render a lesson's text as HTML: Markdown, recorded compiler output, and the glossary's terms at their first use."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from app.course.glossary import Glossary, Term
from app.course.lesson import Lesson
from app.course.quotation import Quote, quote, quoted
from app.course.recordings import RecordingError
from app.protocol.command import CommandError, parse
from app.web.ansi import Terminal, strip
from app.web.render import code, fence, inline, made, new_parser, page
from app.web.snippets import code_blocks, home_of
from app.web.words import FROM_THE_POST, OBSERVED, recording_label, recording_of

_OURS = re.compile(r"^```((?:recorded|offer)\b.*)\n(?:(?!```).*\n)*```\n", re.MULTILINE)
_ERA = "1.63"
_MOST_LINES = 120
"""Lines of a recording up to which the whole of it is offered below an excerpt."""


def prose(lesson: Lesson, glossary: Glossary = (), root: str = "") -> Markup:
    """Return the text of a lesson as HTML; ``root`` is the path under which the playground is served."""
    terms = {word.lower(): term for term in glossary for word in (term.name, *term.match)}
    return made(_parser().render(lesson.text, {"lesson": lesson, "terms": terms, "root": root}))


def markdown(lesson: Lesson) -> str:
    """Return the text of a lesson as Markdown for programs, with quoted compiler output and without buttons."""
    return _OURS.sub(lambda found: _as_markdown(lesson, found[1]), lesson.text)


def _as_markdown(lesson: Lesson, info: str) -> str:
    """Return plain Markdown in place of a fence of the lesson format."""
    if not info.startswith("recorded"):
        return ""
    try:
        shown = quoted(lesson.recordings, quote(info))
    except RecordingError:
        return ""
    return "\n".join(f"{recording_of(names)}:\n\n```text\n{strip(text).rstrip()}\n```\n" for names, text in shown)


@cache
def _parser() -> MarkdownIt:
    parser = new_parser()
    parser.core.ruler.push("terms", _mark_terms)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("heading_close", _anchor)
    parser.add_render_rule("term", _term)
    return parser


def _fence(self: RendererHTML, tokens: list[Token], number: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[number]
    if token.info.startswith("recorded"):
        return _recorded(env["lesson"], token.info, number)
    if token.info.startswith("offer "):
        name, says = token.info.split()[1], token.content.strip()
        return made(page("_offer.html", root=env["root"], lesson=env["lesson"], name=name, says=says))
    block = next(place for place, each in enumerate(code_blocks(tokens)) if each is token)
    drawn = made(fence(self, tokens, number, options, env))
    return made(page("_code.html", **_block(env["lesson"], env["root"], token, block), code=drawn))


def _anchor(_self: RendererHTML, tokens: list[Token], number: int, _options: OptionsDict, _env: EnvType) -> str:
    """End a heading with a link to it, so that a section's address can be copied."""
    name = tokens[number - 2].attrGet("id")
    link = Markup(' <a class="anchor" href="#{}" aria-label="Link to this section">#</a></{}>\n')
    return link.format(name, tokens[number].tag)


def _block(lesson: Lesson, root: str, token: Token, number: int) -> dict[str, object]:
    """Return the context of a block's buttons: a command can be run, a part of the solution inserted."""
    command = token.content.strip() if token.info.startswith("console") else ""
    return {
        "root": root,
        "lesson": lesson,
        "number": number,
        "command": command if _runs(command) else None,
        "path": None if command else home_of(lesson, token.content),
    }


def _runs(command: str) -> bool:
    try:
        parse(command)
    except CommandError:
        return False
    return "\n" not in command


def snippet(lesson: Lesson, number: int) -> str | None:
    """Return the text of a lesson's code block; None if there is none of that number."""
    blocks = list(code_blocks(_parser().parse(lesson.text, {"lesson": lesson})))
    return blocks[number].content if 0 <= number < len(blocks) else None


def _recorded(lesson: Lesson, info: str, number: int) -> Markup:
    """Return recorded compiler output, with a tab for each compiler that differs, or a sentence if there is none.

    Output that the learner is about to see is folded until the command has been run.
    """
    try:
        wanted = quote(info)
    except RecordingError as error:
        return Markup('<p class="note">{}</p>\n').format(str(error))
    shown = quoted(lesson.recordings, wanted)
    if not shown:
        said = Markup('<p class="note">What {} prints has not been recorded yet.</p>\n')
        return said.format(code(wanted.command))
    whole = quoted(lesson.recordings, replace(wanted, first=None, last=None))
    figures = [
        _figure(wanted, names, text, next((all_ for group, all_ in whole if names[0] in group), text))
        for names, text in shown
    ]
    outcome = wanted.command in lesson.commands and wanted.files in ("start", "solution")
    return made(page("_recorded.html", figures=figures, number=number, folded=wanted.command if outcome else None))


def _figure(wanted: Quote, names: tuple[str, ...], text: str, whole: str) -> dict[str, object]:
    notes = [note for note, holds in ((OBSERVED, wanted.seen), (FROM_THE_POST, _ERA in names)) if holds]
    longer = whole != text and whole.count("\n") < _MOST_LINES
    return {
        "label": recording_of(names),
        "what": recording_label(names, wanted.command, observed=wanted.seen),
        "notes": notes,
        "table": not wanted.command.startswith("cargo "),
        "text": Terminal().feed(text),
        "whole": Terminal().feed(whole) if longer else None,
        "lines": whole.count("\n") + 1,
    }


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE)


def _mark_terms(state: StateCore) -> None:
    """Mark each term's first use outside of headings and links. The text itself explains terms in bold."""
    terms: dict[str, Term] = state.env.get("terms", {})
    if not terms:
        return
    seen: set[str] = set()
    heading = False
    for token in state.tokens:
        heading = token.type == "heading_open" if token.type != "inline" else heading
        if token.type == "inline" and not heading:
            token.children = list(_marked(token.children or [], terms, seen))


def _marked(children: list[Token], terms: dict[str, Term], seen: set[str]) -> Iterator[Token]:
    inside = {"link": 0, "strong": 0}
    for child in children:
        kind, _, edge = child.type.rpartition("_")
        if kind in inside:
            inside[kind] += {"open": 1, "close": -1}.get(edge, 0)
        if child.type == "text" and not inside["link"]:
            yield from _split(child, terms, seen, explained=bool(inside["strong"]))
        else:
            yield child


def _split(text: Token, terms: dict[str, Term], seen: set[str], *, explained: bool) -> Iterator[Token]:
    at = 0
    for match in _pattern(tuple(terms)).finditer(text.content):
        term = terms[match[0].lower()]
        if term.id in seen:
            continue
        seen.add(term.id)
        if not explained:
            yield _text(text.content[at : match.start()])
            yield Token("term", "", 0, content=match[0], meta={"term": term})
            at = match.end()
    yield _text(text.content[at:])


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _term(_self: RendererHTML, tokens: list[Token], number: int, _options: OptionsDict, env: EnvType) -> str:
    """Return a link to the glossary. On hover and focus, the style sheet shows the meaning without a script."""
    word, term = tokens[number].content, tokens[number].meta["term"]
    return Markup(
        '<span class="term" data-term><a href="{}/glossary#{}" aria-describedby="term-{}">{}</a>'
        '<span class="tip" role="tooltip" id="term-{}">{}</span></span>'
    ).format(env["root"] + env["lesson"].base, term.id, term.id, word, term.id, inline(term.means))
