"""Turn what cargo writes into events. Pure: bytes of its two streams in, events out.

On standard output, cargo writes one JSON message per line until ``build-finished``. What follows comes from the
learner's program and is never parsed. On standard error, cargo writes text. It also reports an error in the manifest or
in a configuration as text, without any JSON, which the reader turns into a ``Diagnostic``.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from app.protocol.events import Diagnostic, Event, Output, Replacement, Span, Suggestion
from app.protocol.visible import plain

Classify = Callable[[Diagnostic, Literal["rustc", "cargo"]], str | None]

# Lines that cargo writes after the compiler's messages. They are deferred until these messages have been read,
# because the two pipes may be read in the other order.
_CLOSING = re.compile(r"error\b|warning: `.*generated \d+ warning|\s+Finished ")
_RUNNING = re.compile(r"^ +(Running|Doc-tests) ", re.MULTILINE)
_OWN_ERROR = re.compile(r"(::)?((core|std)::)?compile_error!")
_SUMMARY = re.compile(r"warnings? emitted$")
_CERTAINTY = {"MaybeIncorrect": 1, "MachineApplicable": 2}
"""The rank of a suggestion's applicability; every other one counts as 0."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""The beginning of an escape for half of a surrogate pair, or for a backslash with such letters behind it."""
_LONGEST_MESSAGE = 256 * 1024
"""Length of a message. A longer one is not parsed, because that would block the server; no compiler writes one."""


class CargoReader:
    """Turns the output of one cargo process into events.

    ``executables`` lists the absolute paths of what cargo built, without tests. With ``program``, cargo announces the
    program that it runs after the build, and the program's output is deferred until that line has been read. With
    ``quiet``, cargo prints nothing of its own.
    """

    def __init__(self, classify: Classify, *, program: bool = False, quiet: bool = False) -> None:
        self._early: list[str] | None = [] if program else None
        self.executables: list[str] = []
        self._classify = classify
        self._out = _LineDecoder()
        self._err = _LineDecoder()
        self._deferred: list[str] = []
        self._building = True
        self._warnings: dict[str, int] | None = None if quiet else {}

    def stdout(self, data: bytes) -> list[Event]:
        """Return the events for bytes of standard output: cargo's, or after the build the program's."""
        if not self._building:
            return self._program_output(self._out.pass_on(data))
        events: list[Event] = []
        for line in self._out.feed(data):
            events += self._line(line)
        events += self._rest_after_build()
        return joined(events)

    def stderr(self, data: bytes) -> list[Event]:
        """Return the events for bytes of standard error."""
        if not self._building:
            text = self._err.pass_on(data)
            return [*_output("stderr", text), *self._deferred_output(text)]
        at_once: list[str] = []
        for line in self._err.feed(data):
            waits = self._deferred or _CLOSING.match(plain(line))
            (self._deferred if waits else at_once).append(line)
        return _output("stderr", "".join(at_once))

    def end(self) -> list[Event]:
        """Return the events for what is left when both streams have ended."""
        self._deferred += self._err.finish()
        deferred = "".join(self._deferred)
        self._deferred = []
        early, self._early = self._early or [], None
        events = _output("stdout", "".join([*early, *self._out.finish()]))
        if self._building and plain(deferred).startswith("error"):
            events.append(self._text_error(deferred))
        else:
            events += _output("stderr", deferred)
        return events

    def _line(self, line: str) -> list[Event]:
        """Return the events for one line. The previous line may have ended the build."""
        return self._message(line) if self._building else self._program_output(line)

    def _rest_after_build(self) -> list[Event]:
        return [] if self._building else self._program_output(self._out.rest())

    def _program_output(self, text: str) -> list[Event]:
        """Return the program's output, or defer it until cargo's ``Running`` line was read, because the pipes race."""
        if self._early is None:
            return _output("stdout", text)
        self._early.append(text)
        return []

    def _deferred_output(self, text: str) -> list[Event]:
        """Return the deferred output of the program if this text of cargo's announces it."""
        if self._early is None or not _RUNNING.search(plain(text)):
            return []
        early, self._early = self._early, None
        return _output("stdout", "".join(early))

    def _message(self, line: str) -> list[Event]:
        """Return the events for one line. A line that only resembles a message of cargo is shown unchanged."""
        try:
            return self._known_message(line)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
            return _output("stdout", line)

    def _known_message(self, line: str) -> list[Event]:
        message = _parse_message(line)
        match message.get("reason") if message else None:
            case "compiler-message":
                self._count_warning(message)
                return [self._diagnostic(message["message"])]
            case "compiler-artifact":
                if message.get("executable") and not message.get("profile", {}).get("test"):
                    self.executables.append(str(message["executable"]))
                return []
            case "build-finished":
                self._building = False
                deferred, self._deferred = "".join([*self._warning_counts(), *self._deferred, self._err.rest()]), []
                return [*_output("stderr", deferred), *self._deferred_output(deferred)]
            case "build-script-executed":
                return []
        return _output("stdout", line)

    def _count_warning(self, message: dict[str, Any]) -> None:
        """Count a warning of a crate, as cargo does when it renders the messages itself."""
        said = message["message"]
        target = message.get("target")
        if self._warnings is None or target is None or said["level"] != "warning" or _SUMMARY.search(said["message"]):
            return
        crate = f"`{_package_name(message['package_id'])}` ({_describe_target(target)})"
        self._warnings[crate] = self._warnings.get(crate, 0) + 1

    def _warning_counts(self) -> Iterator[str]:
        """Yield the lines that cargo omits when its messages are JSON, without their hint at `cargo fix`."""
        for crate, count in (self._warnings or {}).items():
            yield f"\x1b[1m\x1b[33mwarning\x1b[0m: {crate} generated {count} warning{'' if count == 1 else 's'}\n"

    def _diagnostic(self, message: dict[str, Any]) -> Diagnostic:
        diagnostic = Diagnostic(
            level=message["level"],
            code=(message.get("code") or {}).get("code"),
            message=message["message"],
            rendered=message.get("rendered") or f"{message['level']}: {message['message']}\n",
            spans=tuple(_span(span) for span in message.get("spans", ())),
            notes=tuple(child["message"] for child in message.get("children", ())),
            suggestions=tuple(_suggestions(message.get("children", ()))),
        )
        return self._classified(diagnostic, "rustc", forged=_is_forged(message.get("spans", ())))

    def _text_error(self, text: str) -> Diagnostic:
        first, _, rest = plain(text).partition("\n")
        diagnostic = Diagnostic(
            level="error",
            code=None,
            message=first.removeprefix("error:").strip(),
            rendered=text,
            notes=(rest.strip(),) if rest.strip() else (),
        )
        return self._classified(diagnostic, "cargo")

    def _classified(
        self, diagnostic: Diagnostic, source: Literal["rustc", "cargo"], *, forged: bool = False
    ) -> Diagnostic:
        found = None if forged else self._classify(diagnostic, source)
        return diagnostic.model_copy(update={"error_class": found})


class PlainReader:
    """Passes the output of any other program on unchanged."""

    executables: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._out = _LineDecoder()
        self._err = _LineDecoder()

    def stdout(self, data: bytes) -> list[Event]:
        """Return the bytes as text."""
        return _output("stdout", self._out.pass_on(data))

    def stderr(self, data: bytes) -> list[Event]:
        """Return the bytes as text."""
        return _output("stderr", self._err.pass_on(data))

    def end(self) -> list[Event]:
        """Return the events for what is left when both streams have ended."""
        out, err = "".join(self._out.finish()), "".join(self._err.finish())
        return _output("stdout", out) + _output("stderr", err)


class _LineDecoder:
    """Splits a stream of bytes into lines of text. Bytes that are not UTF-8 become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []

    def feed(self, data: bytes) -> list[str]:
        text = self._decoder.decode(data)
        if "\n" not in text:
            self._parts.append(text)
            return []
        lines = re.split(r"(?<=\n)", "".join(self._parts) + text)  # unlike splitlines, only at \n
        self._parts = [lines.pop()]
        return [line for line in lines if line]

    def rest(self) -> str:
        """Return the unfinished line without waiting for its end."""
        rest, self._parts = "".join(self._parts), []
        return rest

    def pass_on(self, data: bytes) -> str:
        """Return the text that has come, not split into lines."""
        return self.rest() + self._decoder.decode(data)

    def finish(self) -> list[str]:
        rest = self.rest() + self._decoder.decode(b"", final=True)
        return [rest] if rest else []


def joined(events: Iterable[Event]) -> list[Event]:
    """Join neighbouring outputs of one stream, so that a flood of lines does not become a flood of events."""
    result: list[Event] = []
    parts: list[str] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, Output) and isinstance(last, Output) and last.stream == event.stream:
            parts.append(event.text)
            continue
        _close(result, parts)
        result.append(event)
    _close(result, parts)
    return result


def _close(result: list[Event], parts: list[str]) -> None:
    """Append the parts to the last event, which is an ``Output``."""
    if parts:
        last = result[-1]
        assert isinstance(last, Output)
        result[-1] = last.model_copy(update={"text": last.text + "".join(parts)})
        parts.clear()


def _output(stream: Literal["stdout", "stderr"], text: str) -> list[Event]:
    return [Output(stream=stream, text=text)] if text else []


def _package_name(identifier: str) -> str:
    """Return the name in a package's id: ``path+file:///…/name#0.1.0``, ``…#name@0.1.0``, or ``name 0.1.0 (…)``."""
    address, number, version = identifier.partition("#")
    if not number:
        return identifier.partition(" ")[0]
    name, at, _ = version.partition("@")
    return name if at else address.rpartition("/")[2]


def _describe_target(target: dict[str, Any]) -> str:
    """Describe a target as cargo does."""
    kind = target["kind"][0]
    if kind == "custom-build":
        return "build script"
    return f'{kind} "{target["name"]}"' if kind in ("bin", "test", "bench", "example") else "lib"


def _parse_message(line: str) -> dict[str, Any]:
    if not line.startswith('{"reason":') or len(line) > _LONGEST_MESSAGE:
        return {}
    try:
        message: dict[str, Any] = json.loads(line)
        if _SURROGATE.search(line):
            # Code that forges a message may escape half of a pair alone, which no later reader of the event can encode.
            json.dumps(message, ensure_ascii=False).encode()
    except ValueError:
        return {}
    return message


def _span(span: dict[str, Any]) -> Span:
    return Span(
        file=span["file_name"],
        line=span["line_start"],
        column=span["column_start"],
        end_line=span["line_end"],
        end_column=span["column_end"],
        primary=span["is_primary"],
        label=span.get("label"),
    )


def _suggestions(children: Iterable[dict[str, Any]]) -> Iterator[Suggestion]:
    for child in children:
        spans = [span for span in child.get("spans", ()) if span.get("suggested_replacement") is not None]
        if spans:
            yield Suggestion(
                message=child["message"],
                # A suggestion is as certain as its least certain part.
                applicability=min(
                    (span.get("suggestion_applicability") or "Unspecified" for span in spans),
                    key=lambda applicability: _CERTAINTY.get(applicability, 0),
                ),
                replacements=tuple(_replacement(span) for span in spans),
            )


def _replacement(span: dict[str, Any]) -> Replacement:
    return Replacement(
        file=span["file_name"],
        line=span["line_start"],
        column=span["column_start"],
        end_line=span["line_end"],
        end_column=span["column_end"],
        text=span["suggested_replacement"],
    )


def _is_forged(spans: Iterable[dict[str, Any]]) -> bool:
    """Return True if the learner's own ``compile_error!`` wrote the message."""
    for span in spans:
        for text in span.get("text", ()):
            if _OWN_ERROR.match(text["text"][text["highlight_start"] - 1 :]):
                return True
    return False
