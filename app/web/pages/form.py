"""The learner's form: the files, the command, and what else was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from app.protocol.command import CommandError, parse


@dataclass(frozen=True)
class Typed:
    """What the learner has in the form: the files, the command, and what else was chosen.

    ``base`` names the texts that the page began with; ``choice`` is the value of the button that sent the form.
    """

    files: Mapping[str, str]
    command: str
    toolchain: str | None = None
    after: str | None = None
    shown: str | None = None
    offered: bool = False
    base: str | None = None
    choice: str | None = None


async def typed(request: Request) -> Typed:
    """The posted form. An offered command's button wins over the line; browsers' line ends become LF."""
    form = await request.form()
    files = {name.removeprefix("file:"): text(form, name) for name in form if name.startswith("file:")}
    offered = text(form, "offered")
    return Typed(
        files={path: clean(content) for path, content in files.items()},
        command=offered or text(form, "command"),
        toolchain=text(form, "toolchain") or None,
        after=text(form, "after") or None,
        shown=text(form, "shown") or None,
        offered=bool(offered),
        base=text(form, "base") or None,
        choice=text(form, "choice") or None,
    )


def text(form: Mapping[str, object], name: str) -> str:
    """A field as text; an upload in its place counts as nothing."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def clean(content: str) -> str:
    """Browsers' line ends become LF."""
    return content.replace("\r\n", "\n").replace("\r", "\n")


def looked_at(form: Typed) -> str | None:
    """The earlier run that the command looks at; a build looks at none, so an expired one cannot hinder it."""
    try:
        return form.after if parse(form.command).needs_artifact else None
    except CommandError:
        return None  # which the playground refuses in its own words
