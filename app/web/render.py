"""Render lesson text and run events as HTML: Markdown, one template per event, everything escaped.

Streams and finished pages share the rendering of a run's events. An event becomes ``Patch``es, each a piece of HTML for
one slot of the run's panel. A stream sends the patches as they come; a finished page contains all of them folded
together.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count, islice
from pathlib import Path
from typing import assert_never

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape
from pydantic import BaseModel

from app.course.diagnosis import Diagnosis
from app.course.lesson import Lesson
from app.protocol.events import (
    Artifact,
    Diagnostic,
    Edit,
    Event,
    Finished,
    Machine,
    Observed,
    Output,
    Queued,
    Screen,
    Started,
    Suggestion,
    Verdict,
)
from app.run.cargo import joined
from app.web.ansi import Terminal, strip
from app.web.highlight import highlighted
from app.web.linking import explain, find_command
from app.web.links import code_link, linked, place_link
from app.web.screen import rows
from app.web.words import LIST_ENDS, TERMINAL_ENDS, WHOLE_OUTPUT, cell_words, file_size, same_as

_TEMPLATES = Path(__file__).parent / "templates"
_APPENDED = {"terminal", "diagnostics", "edits"}
_TELLS = ("--version", "-V", "-vV", "-Vv", "--list", "--help", "-h", "--explain")
_LOOKS = ("new", "clean", "clippy", "fmt", "tree", "help", "version")
_MOST_TEXT = 256 * 1024
"""Characters that a terminal shows. HTML is up to fifty times as long, and each reader's browser must lay it out."""
_MOST_LISTED = 256 * 1024
"""Characters of HTML after which the list of messages ends."""
_LONGEST_COMMAND = 32 * 1024
"""Longer linker commands are shown without an explanation, which has a sentence for each part."""
_LONGEST_MESSAGE = 8 * 1024
_SHORT = 28
"""Characters of code that fit into a line of the narrowest page."""
_PLACE = 80
"""Characters of a replacement's position."""
_MOST_SPANS = 50
_MOST_FIXES = 10


@dataclass(frozen=True)
class Patch:
    """HTML for the panel's element ``run-<slot>``, to be appended or to replace its content."""

    slot: str
    html: Markup
    append: bool

    def partial(self) -> Markup:
        """Return the patch as an element that htmx swaps into its slot."""
        swap = "beforeend" if self.append else "innerHTML"
        return Markup('<hx-partial hx-target="#run-{}" hx-swap="{}">{}</hx-partial>').format(self.slot, swap, self.html)


class RunRenderer:
    """Render one run's events in order; colours that one event leaves open continue in the next.

    ``seconds``: the time that the run has taken so far. ``earlier``: the learner reached the goal in an earlier run.
    ``finish``: the lesson is the last of the post's own steps, and leads to the page about what was built.
    """

    def __init__(
        self,
        run_id: str,
        lesson: Lesson,
        following: Lesson | None,
        diagnosis: Diagnosis,
        root: str = "",
        seconds: float = 0.0,
        *,
        earlier: bool = False,
        finish: bool = False,
    ) -> None:
        self._terminal = Terminal()
        self._files = [*lesson.editable, *(path for path in lesson.files if path not in lesson.editable)]
        self._toolchain, self._root = "", root
        self._classes = {known.id: known for known in diagnosis.classes}
        self._finished: Finished | None = None
        self._looks = self._by_path = self._reads_a_build = False
        self._text_left, self._list_left = _MOST_TEXT, _MOST_LISTED
        self._cut = False
        self._lesson = lesson
        self._known = {
            "root": root,
            "run_id": run_id,
            "lesson": lesson,
            "following": following,
            "seconds": seconds,
            "earlier": earlier,
            "finish": finish,
            "judged": judged_command(lesson),
        }

    def patches(self, event: Event) -> list[Patch]:
        """Return the event's changes to the panel: a patch for each block of ``events/<type>.html``."""
        if isinstance(event, Finished):
            self._finished = event
        if isinstance(event, Started):
            self._looks = only_looks(event.argv, self._lesson)
            self._by_path = "/" in event.argv[0]
            built = any(word.removeprefix("./").startswith("target/") for word in event.argv)
            self._reads_a_build = built and event.argv[0] != "cargo"
            self._toolchain = event.toolchain
            self._terminal.link = linked(self._files, event.toolchain, self._root)
        if self._cut and isinstance(event, Output):
            return []
        if self._list_left < 0 and isinstance(event, Diagnostic):
            return [Patch("terminal", self._rendered(event), append=True)]
        # Output before the start is about a target that the run still lacks.
        lacking = isinstance(event, Output) and not self._toolchain
        template = environment().get_template("_lacking.html" if lacking else f"events/{event.type}.html")
        context = template.new_context(
            {
                **self._known,
                "event": event,
                "finished": self._finished,
                "looks": self._looks,
                "reads_a_build": self._reads_a_build,
                **self._extra(event),
            }
        )
        patches = [
            Patch(slot, made("".join(block(context)).strip()), slot in _APPENDED)
            for slot, block in template.blocks.items()
        ]
        return [self._listed(patch) if patch.slot == "diagnostics" else patch for patch in patches]

    def _listed(self, patch: Patch) -> Patch:
        """Return the patch while the list has room; the first one without room becomes a sentence."""
        had, self._list_left = self._list_left, self._list_left - len(patch.html)
        if self._list_left >= 0 or not patch.html:
            return patch
        return Patch(patch.slot, self._rest("li", LIST_ENDS) if had >= 0 else Markup(), patch.append)

    def _rest(self, element: str, words: str) -> Markup:
        link = Markup('<{} class="soft">{} <a href="{}/runs/{}/output">{}</a></{}>')
        return link.format(element, words, self._root, self._known["run_id"], WHOLE_OUTPUT, element)

    def _lines(self, text: str) -> Markup:
        """Return the terminal's HTML for text, as far as the terminal has room."""
        kept = text[: self._text_left]
        self._text_left -= len(kept)
        shown = self._terminal.lines(kept)
        if len(kept) == len(text) or self._cut:
            return shown
        self._cut = True
        return shown + self._rest("p", TERMINAL_ENDS)

    def _extra(self, event: Event) -> Mapping[str, object]:
        match event:
            case Output():
                return {"shown": self._lines(event.text)}
            case Observed():
                return {"by_path": self._by_path}
            case Diagnostic():
                return self._message(event)
            case Edit():
                return {"offered": event.path in self._lesson.editable}
            case Queued() | Started() | Artifact() | Screen() | Machine() | Finished() | Verdict():
                return {}
            case _:
                assert_never(event)

    def _message(self, event: Diagnostic) -> Mapping[str, object]:
        in_files = [span for span in event.spans if span.file in self._files][:_MOST_SPANS]
        return {
            "shown": self._rendered(event),
            "known": self._classes.get(event.error_class or ""),
            "code_link": partial(code_link, self._root, self._toolchain),
            "place_link": partial(place_link, self._files),
            "in_files": in_files,
            "first": next((span for span in in_files if span.primary), None),
            "fixes": list(islice(fixes(event, self._files), _MOST_FIXES)),
            "message": _shortened(event.message),
            "text": strip(_shortened(event.rendered)),
        }

    def _rendered(self, event: Diagnostic) -> Markup:
        """Return the terminal's HTML for a message; a linker's command becomes a fold with its explanation."""
        command = find_command(event.notes) or ""
        if len(command) > min(_LONGEST_COMMAND, self._text_left):
            return self._lines(event.rendered)
        before, found, after = event.rendered.partition(command) if command else (event.rendered, "", "")
        shown = self._lines(before)
        if found and not self._cut:
            folded = page("_linker.html", command=self._terminal.feed(found), line=explain(command, event.notes))
            self._text_left = max(0, self._text_left - len(found))
            shown += made(folded.strip()) + self._lines(after)
        return shown


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"


def fixes(event: Diagnostic, files: Sequence[str]) -> Iterator[Suggestion]:
    """Yield the compiler's suggestions that can be applied unseen and are within the learner's own files."""
    for suggestion in event.suggestions:
        own = all(each.file in files for each in suggestion.replacements)
        short = sum(_PLACE + len(each.text) for each in suggestion.replacements) <= _LONGEST_MESSAGE
        if own and short and suggestion.applicability == "MachineApplicable":
            yield suggestion


def only_looks(argv: Sequence[str], lesson: Lesson) -> bool:
    """Return True if a command is none that the lesson's goal is about, so that it gets no verdict."""
    if argv[0] == "cargo":
        words = argv[: argv.index("--")] if "--" in argv else argv
        if set(_TELLS) & set(words) or set(_LOOKS) & set(words[1:3]):
            return True
    programs = {check.command.program for check in lesson.checks if check.command} or {"cargo"}
    return argv[0] not in programs


def judged_command(lesson: Lesson) -> str:
    """Return the command, without its options, whose runs are judged in this lesson."""
    facts = next((check.command for check in lesson.checks if check.command), None)
    return " ".join((facts.program, *facts.subcommand[:1])) if facts else "cargo build"


def partials(patches: Iterable[Patch]) -> str:
    """Return patches as one message for htmx."""
    return "".join(patch.partial() for patch in patches)


def merged(patches: Iterable[Patch]) -> list[Patch]:
    """Return the same change with one patch per slot."""
    slots: dict[str, list[Patch]] = {}
    for patch in patches:
        if patch.append:
            slots.setdefault(patch.slot, []).append(patch)
        else:
            slots[patch.slot] = [patch]
    return [Patch(slot, Markup().join(each.html for each in all_), all_[0].append) for slot, all_ in slots.items()]


def rendered(renderer: RunRenderer, events: Iterable[Event]) -> list[Patch]:
    """Return the patches of these events, with adjacent pieces of output joined."""
    return [patch for event in joined(events) for patch in renderer.patches(event)]


def fold(renderer: RunRenderer, events: Iterable[Event]) -> dict[str, Markup]:
    """Return the content of every slot after these events."""
    return {patch.slot: patch.html for patch in merged(rendered(renderer, events))}


def page(template: str, **context: object) -> str:
    """Render a whole page or a fragment of one."""
    return environment().get_template(template).render(context)


@cache
def environment() -> Environment:
    """Return the templates. All are autoescaped, and an undefined name is an error."""
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"markdown": markdown, "inline": inline, "ticks": ticks, "plain": plain, "size": file_size}
    env.filters["shell"] = shlex.join
    env.filters["code"] = code
    env.filters["json"] = as_json
    env.filters["same_as"] = same_as
    env.filters["screen_rows"] = rows
    env.filters["cell_words"] = cell_words
    env.tests |= {"listed": is_listed, "explained": is_explained}
    return env


def made(html: str) -> Markup:
    """Mark the output of a template or of the Markdown renderer, both of which escape their input, as HTML."""
    return Markup(html)  # noqa: S704  (the only place that declares text to be HTML)


def markdown(text: str) -> Markup:
    """Render Markdown; HTML in it is shown as text."""
    return made(_markdown().render(text))


def inline(text: str) -> Markup:
    """Render a sentence of Markdown, without a paragraph around it."""
    return made(_markdown().renderInline(text))


def ticks(text: str) -> Markup:
    """Escape text and render the parts between backticks as code, as compilers and authors mean them."""
    pieces = re.split(r"`([^`\n]+)`", text)
    return Markup().join(code(piece) if odd % 2 else escape(piece) for odd, piece in enumerate(pieces))


def plain(text: str) -> str:
    """Return text for places without elements, such as a page's title."""
    return text.replace("`", "")


def as_json(models: Iterable[BaseModel]) -> str:
    """Return models as JSON for an attribute that a script reads."""
    return json.dumps([model.model_dump() for model in models], separators=(",", ":"))


def is_explained(code: str) -> bool:
    """Return True if the compiler explains this code. Names of lints are codes too, and have no explanation."""
    return bool(re.fullmatch(r"E[0-9]{4}", code))


def is_listed(diagnostic: Diagnostic) -> bool:
    """Return True if a message belongs in the summary; rustc's closing count is for the terminal only."""
    return diagnostic.level.startswith(("error", "warning")) and not diagnostic.is_summary


@cache
def _markdown() -> MarkdownIt:
    return new_parser()


def new_parser() -> MarkdownIt:
    """Return a Markdown parser that shows HTML as text, gives headings ids, and makes code scrollable."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.core.ruler.push("headings", _headings)
    parser.add_render_rule("link_open", _link)
    parser.add_render_rule("fence", fence)
    parser.add_render_rule("code_block", fence)
    parser.add_render_rule("code_inline", _code_inline)
    return parser


def _headings(state: StateCore) -> None:
    """Give each heading a unique id, and keep h1 for the page itself."""
    seen: set[str] = set()
    for opening, content, closing in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if opening.type == "heading_open":
            base = re.sub(r"[^a-z0-9]+", "-", content.content.lower()).strip("-") or "section"
            name = next(each for each in chain([base], (f"{base}-{n}" for n in count(2))) if each not in seen)
            seen.add(name)
            opening.attrSet("id", name)
            opening.tag = closing.tag = "h2" if opening.tag == "h1" else opening.tag


def _link(self: RendererHTML, tokens: list[Token], number: int, options: OptionsDict, env: EnvType) -> str:
    tokens[number].attrSet("rel", "noopener")
    return self.renderToken(tokens, number, options, env)


def fence(  # markdown-it passes the same arguments to every rule
    _self: RendererHTML, tokens: list[Token], number: int, _options: OptionsDict, _env: EnvType
) -> str:
    """Return a block of code that can be scrolled with the keyboard."""
    token = tokens[number]
    language = token.info.split()[0] if token.info.split() else "text"
    shown = highlighted(token.content, language)
    return Markup('<pre tabindex="0"><code class="language-{}">{}</code></pre>\n').format(language, shown)


def _code_inline(_self: RendererHTML, tokens: list[Token], number: int, _options: OptionsDict, _env: EnvType) -> str:
    return code(tokens[number].content)


def code(text: str) -> Markup:
    """Return code within a sentence; only a long piece may be broken at the end of a line."""
    return Markup("<code{}>{}</code>").format(Markup(' class="long"') if len(text) > _SHORT else "", text)
