"""Render a lesson's text as HTML: Markdown, recorded compiler output, and the glossary's terms at their first use."""

import re
from collections.abc import Iterator
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from app.course.glossary import Glossary, Term
from app.course.lessons import Lesson
from app.course.quotation import Quote, quote, quoted
from app.course.recordings import RecordingError
from app.web.ansi import Terminal, strip
from app.web.render import fence, inline, made, new_parser, page
from app.web.words import FROM_THE_POST, OBSERVED, recording_label, recording_of

_OURS = re.compile(r"^```((?:recorded|offer)\b.*)\n(?:(?!```).*\n)*```\n", re.MULTILINE)
_ERA = "1.63"


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
    parser.add_render_rule("term", _term)
    return parser


def _fence(self: RendererHTML, tokens: list[Token], number: int, options: OptionsDict, env: EnvType) -> str:
    info, content = tokens[number].info, tokens[number].content
    if info.startswith("recorded"):
        return _recorded(env["lesson"], info)
    if info.startswith("offer "):
        name = info.split()[1]
        return made(page("_offer.html", root=env["root"], lesson=env["lesson"], name=name, says=content.strip()))
    return fence(self, tokens, number, options, env)


def _recorded(lesson: Lesson, info: str) -> Markup:
    """Return recorded compiler output side by side, or a sentence if there is none."""
    try:
        wanted = quote(info)
    except RecordingError as error:
        return Markup('<p class="note">{}</p>\n').format(str(error))
    shown = quoted(lesson.recordings, wanted)
    if not shown:
        return Markup('<p class="note">What <code>{}</code> prints has not been recorded yet.</p>\n').format(
            wanted.command
        )
    columns = Markup().join(_column(wanted, names, text) for names, text in shown)
    return Markup('<div class="recorded"><div>{}</div></div>\n').format(columns)


def _column(wanted: Quote, names: tuple[str, ...], text: str) -> Markup:
    label = recording_label(names, wanted.command, observed=wanted.seen)
    notes = [note for note, holds in ((OBSERVED, wanted.seen), (FROM_THE_POST, _ERA in names)) if holds]
    soft = Markup().join(Markup(' <span class="soft">{}</span>').format(note) for note in notes)
    return Markup(
        '<figure><figcaption>{}{}</figcaption><pre class="terminal{}" tabindex="0" role="group" aria-label="{}" '
        'translate="no">{}</pre></figure>'
    ).format(
        recording_of(names),
        soft,
        "" if wanted.command.startswith("cargo ") else " table",
        label,
        Terminal().feed(text),
    )


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
