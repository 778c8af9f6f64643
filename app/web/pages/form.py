"""Read the learner's form: the files, the command, and the other choices."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from app.protocol.command import LONGEST, CommandError, parse

_LONGEST_NAME = 200
"""Characters of a field that names something. The answer repeats some fields, and compressing a megabyte takes long."""


@dataclass(frozen=True)
class Typed:
    """The content of the form: the files, the command, and the other choices.

    ``base`` is the fingerprint of the texts from which the page started; ``choice`` is the value of the submit button.
    ``again`` is True for *Run again*, which does not accept a kept answer.
    """

    files: Mapping[str, str]
    command: str
    toolchain: str | None = None
    after: str | None = None
    shown: str | None = None
    offered: bool = False
    base: str | None = None
    choice: str | None = None
    again: bool = False


async def typed(request: Request) -> Typed:
    """Return the posted form. The button of an offered command overrides the command line; line ends become LF."""
    form = await request.form()
    files = {name.removeprefix("file:"): text(form, name) for name in form if name.startswith("file:")}
    offered = text(form, "offered")
    toolchain, after, shown, base, choice = (
        text(form, name)[:_LONGEST_NAME] or None for name in ("toolchain", "after", "shown", "base", "choice")
    )
    return Typed(
        files={path: clean(content) for path, content in files.items()},
        command=(offered or text(form, "command"))[: LONGEST + 1],  # a longer one is refused, whatever its end
        toolchain=toolchain,
        after=after,
        shown=shown,
        offered=bool(offered),
        base=base,
        choice=choice,
        again=bool(text(form, "again")),
    )


def text(form: Mapping[str, object], name: str) -> str:
    """Return a field as text; an upload in its place counts as empty."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def clean(content: str) -> str:
    """Return text with LF in place of the browser's line ends."""
    return content.replace("\r\n", "\n").replace("\r", "\n")


def looked_at(form: Typed) -> str | None:
    """Return the earlier run that the command looks at; None for a build, so an expired run cannot prevent it."""
    try:
        return form.after if parse(form.command).needs_artifact else None
    except CommandError:
        return None  # submitting the run reports the error
