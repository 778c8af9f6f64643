"""The report of ``playground doctor``: compilers, targets, linkers and tools, what is missing, and how to get it."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from pydantic import BaseModel, ConfigDict

from app.protocol.command import LOOKUPS
from app.toolchain import components
from app.toolchain.discover import Survey, survey
from app.toolchain.linkers import find_lld
from app.toolchain.model import Origin, Source, Toolchain, preferred
from app.toolchain.needs import Needs, can_add_targets, needs
from app.toolchain.process import capture
from app.toolchain.tools import EMULATORS, tools_command

_ORIGINS = {
    "shipped": "came with the compiler",
    "rustup": "installed by rustup",
    "distribution": "installed as a package",
    "built": "built here from the compiler's sources",
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class CompilerReport(_Frozen):
    """One toolchain. ``targets`` maps each triple to its origin.

    ``default_for`` lists ``host`` and ``bare-metal`` if runs use this toolchain for them by default. ``hidden`` is True
    if runs use another compiler of the same version. ``lacks`` names the missing ones of Clippy and rustfmt.
    """

    name: str
    rustc: str
    cargo: str
    stable: bool
    host: str
    source: Source
    folder: Path
    targets: dict[str, Origin]
    default_for: tuple[str, ...] = ()
    hidden: bool = False
    lacks: tuple[str, ...] = ()


class ToolReport(_Frozen):
    """A program. ``path`` is None if it is missing; ``version`` is the first line of its own version message."""

    name: str
    path: Path | None
    version: str = ""


class TargetReport(_Frozen):
    """A target, the lessons that build for it, and the toolchains that have it.

    ``obtainable`` is True if the playground can set the target up without root's rights.
    """

    name: str
    lessons: tuple[str, ...]
    toolchains: tuple[str, ...]
    obtainable: bool = True


class DoctorReport(_Frozen):
    """The state of this machine. ``problems`` are sentences; ``command`` installs what is missing, or is None.

    ``ok`` is True if every lesson can be done. A problem such as a broken second compiler does not prevent that, nor
    does a missing target that can be set up when a lesson needs it.
    """

    ok: bool
    toolchains: tuple[CompilerReport, ...]
    targets: tuple[TargetReport, ...] = ()
    linkers: tuple[ToolReport, ...]
    lookups: tuple[ToolReport, ...]
    problems: tuple[str, ...]
    command: str | None
    emulators: tuple[ToolReport, ...] = ()

    def to_text(self) -> str:
        """Return the report as text for people."""
        lines = ["Rust toolchains"]
        for compiler in self.toolchains:
            lines += _compiler_lines(compiler)
        lines += ["Targets of the lessons", *map(_target_line, self.targets)] if self.targets else []
        lines += ["Linkers", *map(_tool_line, self.linkers), "Look-up tools", *map(_tool_line, self.lookups)]
        lines += ["Emulators", *map(_tool_line, self.emulators)]
        lines += ["Problems", *(f"  {problem}" for problem in self.problems)] if self.problems else []
        if self.command:
            lines.append(f"{'To fix it' if self.problems else 'To set up every target now'}: {self.command}")
        return "\n".join([*lines, "Every lesson can be done." if self.ok else "Not every lesson can be done."])


async def examine(
    cache_dir: Path, lessons: Mapping[str, Sequence[str]] | None = None, essential: tuple[str, ...] = ()
) -> DoctorReport:
    """Examine the machine without changing it. A broken part is reported, not raised.

    ``lessons`` maps each lesson to the targets that it builds for. ``essential`` are the targets that courses require.
    """
    found = await survey(cache_dir)
    tools: dict[str, ToolReport] = {}

    async def look(name: str, path: str | Path | None, *arguments: str) -> None:
        if path is None:
            tools[name] = ToolReport(name=name, path=None)
        else:
            answer = await capture([path, *arguments], seconds=10)
            tools[name] = ToolReport(name=name, path=Path(path), version=answer.output.partition("\n")[0].strip())

    default = preferred(found.toolchains, *essential) if essential else preferred(found.toolchains, None)
    async with anyio.create_task_group() as tasks:
        for name in ("cc", "ld", *LOOKUPS, *EMULATORS):
            tasks.start_soon(look, name, shutil.which(name), "--version")
        # rust-lld contains linkers for several formats and needs to know which one to be.
        tasks.start_soon(look, "rust-lld", find_lld(default) if default else None, "-flavor", "gnu", "--version")
    linkers = tuple(tools[name] for name in ("cc", "ld", "rust-lld"))
    lookups, emulators = (tuple(tools[name] for name in names) for names in (LOOKUPS, EMULATORS))
    targets = _target_reports(found, lessons or {}, essential)
    on_demand = {one.name for one in targets if not one.toolchains and one.obtainable} - set(essential)
    lacking = await needs(found, tuple(one.name for one in targets if one.name not in on_demand), essential)
    result = report(found, lacking, linkers, lookups, emulators, targets, essential)
    if on_demand and not result.command:
        return result.model_copy(update={"command": (await needs(found, tuple(on_demand), essential)).command})
    return result


def report(
    found: Survey,
    lacking: Needs,
    linkers: tuple[ToolReport, ...],
    lookups: tuple[ToolReport, ...],
    emulators: tuple[ToolReport, ...] = (),
    targets: tuple[TargetReport, ...] = (),
    essential: tuple[str, ...] = (),
) -> DoctorReport:
    """Combine the findings into a report."""
    unobtainable = any(not (one.toolchains or one.obtainable) for one in targets)
    problems = list(lacking.missing)
    if absent := [tool.name for tool in emulators if tool.path is None]:
        command = tools_command(absent)
        install = f" To install {'it' if len(absent) == 1 else 'them'}: {command}" if command else ""
        problems.append(
            "Lessons that boot a machine cannot be done, all others can: "
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing.{install}"
        )
    return DoctorReport(
        ok=bool(found.toolchains)
        and not (lacking.host_linker or unobtainable or set(essential) & set(lacking.targets)),
        toolchains=tuple(_compiler_report(toolchain, found, essential) for toolchain in found.everyone),
        targets=targets,
        linkers=linkers,
        lookups=lookups,
        emulators=emulators,
        problems=(*problems, *(flaw.reason for flaw in found.flaws)),
        command=lacking.command,
    )


def _compiler_report(toolchain: Toolchain, found: Survey, essential: tuple[str, ...]) -> CompilerReport:
    defaults = {"host": preferred(found.toolchains, None)}
    if essential:
        defaults["bare-metal"] = preferred(found.toolchains, *essential)
    default_for = (purpose for purpose, default in defaults.items() if default is toolchain)
    return CompilerReport(
        name=toolchain.name,
        rustc=toolchain.version,
        cargo=toolchain.cargo_version,
        stable=toolchain.stable,
        host=toolchain.host,
        source=toolchain.source,
        folder=toolchain.compiler.parent,
        targets=dict(toolchain.targets),
        default_for=tuple(default_for),
        hidden=toolchain in found.shadowed,
        lacks=components.lacking(toolchain),
    )


def _target_reports(
    found: Survey, lessons: Mapping[str, Sequence[str]], essential: tuple[str, ...]
) -> tuple[TargetReport, ...]:
    wanted = dict.fromkeys((*essential, *(target for targets in lessons.values() for target in targets)))
    can_add = can_add_targets(found)
    return tuple(
        TargetReport(
            name=target,
            lessons=tuple(lesson for lesson, targets in lessons.items() if target in targets),
            toolchains=tuple(one.name for one in found.toolchains if one.can_build(target)),
            obtainable=can_add,
        )
        for target in wanted
    )


def _target_line(target: TargetReport) -> str:
    if target.toolchains:
        state = f"ready with {', '.join(target.toolchains)}"
    elif target.obtainable:
        state = "missing; set up when a lesson needs it"
    else:
        state = "missing, and nothing here can build it"
    lessons = f" ({', '.join(target.lessons)})" if target.lessons else ""
    return f"  {target.name}: {state}{lessons}"


def _compiler_lines(compiler: CompilerReport) -> list[str]:
    purposes = f"; default for {' and '.join(compiler.default_for)}" if compiler.default_for else ""
    hidden = "; hidden by another one of the same version" if compiler.hidden else ""
    versions = f"rustc {compiler.rustc}, cargo {compiler.cargo}, {compiler.source}, {compiler.folder}"
    targets = sorted(compiler.targets.items(), key=lambda item: item[0] != compiler.host)
    lines = [f"  {compiler.name}  {versions}{purposes}{hidden}"]
    lines += [f"        {name}{' (host)' * (name == compiler.host)}: {_ORIGINS[origin]}" for name, origin in targets]
    if compiler.lacks:
        lines.append(f"        missing: {' and '.join(compiler.lacks)}; set-up adds them where it can")
    return lines


def _tool_line(tool: ToolReport) -> str:
    return f"  {tool.name}: {tool.version or 'no version'} ({tool.path})" if tool.path else f"  {tool.name}: missing"
