"""Run one job: lay out its crate, start its process, turn the output into events, and collect the artifact.

``emit`` gets each event as it happens, numbers it and keeps it. When ``run`` is cancelled, it ends the whole process
tree before it lets the cancellation pass.
"""

import hashlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import indent

import anyio
from anyio.abc import ByteReceiveStream

from app.binary import BinaryFacts
from app.protocol.command import Command
from app.protocol.events import Artifact, Edit, Event, Finished, Limit, Output, Started, Status
from app.run import words
from app.run.answers import answer, reason_not_to_start
from app.run.cargo import CargoReader, Classify, PlainReader
from app.run.machine import Monitor, StandIn, report_path
from app.run.meter import Emit, Meter
from app.run.observation import observed
from app.run.rustup import TargetReader
from app.run.workspace import HOME, PROGRAM, Seed, Workspace, has_companions
from app.runfiles import in_thread
from app.sandbox import Box, Confined, Parked, ProgramGoneError, process
from app.toolchain import TOOL_PATH, Toolchain, build_env, components

Mark = Callable[[str], None]

_MESSAGES = "--message-format=json-diagnostic-rendered-ansi"
_COMPILES = ("build", "check", "run", "rustc", "test", "clippy")
_LAST_OUTPUT_SECONDS = 1.0
"""Seconds after a process has ended in which its remaining output is read."""
_HASHED_AT_ONCE = 256 * 1024
"""Artifacts below this size are hashed at once, which takes less time than another thread."""
_UNPACED_EVENTS = 300
"""Events that pass without delay. An ordinary run has about ten."""
_PACE_SECONDS = 0.02
"""Seconds between two reads of a stream after that, so that single bytes gather in the pipe."""
_LONGEST_EDIT = 256 * 1024


@dataclass(frozen=True)
class Built:
    """The artifact of a run: the file that is kept, its path in the crate, and the files that belong to it.

    ``companions`` are the files with debug information, in formats that keep it out of the artifact. ``bytes`` is the
    size of all files together.
    """

    file: Path
    path: str
    companions: tuple[Path, ...]
    bytes: int


@dataclass(frozen=True)
class Task:
    """Everything that the runner needs for one run.

    The workspace's folder must not exist yet; the caller removes it. ``keep`` is the folder that the runner makes for
    the artifact. ``after`` is the artifact of an earlier run, to be placed in the crate. ``machines`` is the stand-in
    for the emulators, None where there are none. ``seed`` is what cargo knows of the compiler, None for a command that
    needs no seed (``takes_seed``). ``parked`` is a process that waits in a folder which the workspace has made already,
    with the seed but without the files. Once ``must_yield`` returns True, other runs get the processors first.
    """

    files: Mapping[str, str]
    command: Command
    toolchain: Toolchain
    classify: Classify
    workspace: Workspace
    keep: Path
    seconds: float
    box: Box
    facts_of: Callable[[Path], Awaitable[BinaryFacts]]
    after: Built | None = None
    program_seconds: float = 2.0
    machines: StandIn | None = None
    seed: Seed | None = None
    parked: Parked | None = None
    must_yield: Callable[[], bool] = bool


def readable(toolchain: Toolchain, machines: StandIn | None) -> tuple[Path, ...]:
    """Return the folders that a run reads besides its own and the system's."""
    return (*toolchain.folders, *((machines.folder,) if machines else ()))


def takes_seed(command: Command) -> bool:
    """Return True if the command makes cargo ask the compiler what a seed already knows."""
    return command.kind == "cargo" and command.subcommand in _COMPILES


def may_park(command: Command) -> bool:
    """Return True if a process that is parked for builds can become the command's, and nothing can be in its way."""
    return command.kind == "cargo" and command.subcommand in ("build", "check", "rustc")


def _starts_program(command: Command) -> bool:
    return command.kind == "program" or (command.kind == "cargo" and command.subcommand == "run")


def _unmarked(_stage: str) -> None:
    """Ignore the end of a stage."""


async def run(task: Task, emit: Emit, mark: Mark = _unmarked) -> Built | None:
    """Run the task up to its ``finished`` event and return what it built, if anything.

    The run's folder is left in place, so that the verdict does not wait for its removal. ``mark`` is called with the
    name of each stage at its end.
    """
    placed = await in_thread(_lay_out, task)
    mark("lay")
    note = task.command.note or None
    emit(
        Started(
            toolchain=task.toolchain.name,
            argv=task.command.argv,
            isolation=task.box.level,
            note=note,
            nightly=not task.toolchain.stable,
        )
    )
    reader = _reader(task)
    meter = Meter(task.box.limits.output_bytes, emit)
    began = time.monotonic()
    monitor = Monitor(task.workspace.folder, HOME, emit)
    end = _end_without_process(task, meter, placed=placed) or await _run_process(task, reader, meter, monitor, mark)
    status, exit_code = end.status, end.exit_code
    seconds = round(time.monotonic() - began, 3)
    if not meter.full:
        meter.pass_on(reader.end())
    if _may_start_machine(task):
        await monitor.end()
    limit = "output" if meter.full else end.limit
    if limit:
        meter.say(f"\n{task.box.limits.sentence(limit)}\n")
    elif status == "timeout":
        meter.say(f"\n{words.timed_out(task.seconds)}\n")
    if status == "ok" and (task.command.kind == "new" or task.command.subcommand == "fmt"):
        meter.pass_on(await in_thread(_written_files, task))
    if isinstance(reader, TargetReader) and status == "ok" and reader.exit_code:
        status, exit_code = "failed", reader.exit_code
    mark("end")
    built, artifact = await _collect_artifact(task, tuple(reader.executables), mark)
    if artifact:
        emit(artifact)
    program = built or task.after  # the program that ran, built by this run or by an earlier one
    observation = observed(end.report, program.path if program else "", artifact.entry if artifact else None)
    if observation:
        emit(observation)
        if observation.outcome == "running":
            exit_code = None
            meter.say(f"\n{words.stopped_on_purpose(task.program_seconds)}\n")
    emit(Finished(status=status, exit_code=exit_code, seconds=seconds, limit=limit))
    return built


def _lay_out(task: Task) -> bool:
    """Make the run's folder; return False if the artifact of an earlier run cannot be placed.

    A parked process starts at once, because the event loop may be busy with the learner's next request.
    """
    if task.parked:
        task.workspace.add(task.files)
        task.parked.start(_argv(task), task.workspace.root, _env(task))
        return True
    task.workspace.lay({} if task.command.kind == "new" else task.files, task.seed)
    placed = True
    if task.after is not None and task.command.kind != "new":
        placed = task.workspace.place(task.after.path, task.after.file)
    task.box.own(task.workspace.folder.path)
    return placed


def _end_without_process(task: Task, meter: Meter, *, placed: bool) -> "_End | None":
    """Answer or refuse a command that needs no process; return None if it needs one."""
    built = task.after.path if task.after else None
    if not placed:
        meter.say(f"{words.in_the_way(built or '')}\n")
        return _End("failed")
    if sentence := reason_not_to_start(task.command, task.toolchain, built):
        meter.say(f"{sentence}\n")
        return _End("failed", 1)
    if task.command.kind != "answer":
        return None
    folder = task.box.inside(task.workspace.folder.path) / task.workspace.crate
    found = answer(task.command, task.files, built, str(folder))
    meter.pass_on([Output(stream="stderr" if found.exit_code else "stdout", text=found.text)])
    return _End("failed" if found.exit_code else "ok", found.exit_code)


def _reader(task: Task) -> CargoReader | PlainReader | TargetReader:
    match task.command.kind:
        case "cargo" | "new":
            quiet = bool({"-q", "--quiet"} & set(task.command.options))
            starts = task.command.subcommand in ("run", "test")
            return CargoReader(task.classify, program=starts and not quiet, quiet=quiet)
        case "rustup":
            return TargetReader(task.command, task.toolchain)
        case "rustc" | "lookup" | "program" | "emulate" | "answer":
            return PlainReader()


@dataclass(frozen=True)
class _End:
    """The end of the process, and its tracer's report."""

    status: Status
    exit_code: int | None = None
    limit: Limit | None = None
    report: bytes = b""


async def _run_process(
    task: Task, reader: CargoReader | PlainReader | TargetReader, meter: Meter, monitor: Monitor, mark: Mark
) -> _End:
    with anyio.move_on_after(task.seconds):
        try:
            root, folders = task.workspace.folder.path, readable(task.toolchain, task.machines)
            observe = task.program_seconds if _starts_program(task.command) else None
            argv, env = ([], {}) if task.parked else (_argv(task), _env(task))
            async with (
                process(
                    task.box, argv, root, task.workspace.root, env, folders, observe, task.parked, task.must_yield
                ) as child,
                monitor.following() if _may_start_machine(task) else nullcontext(),
            ):
                mark("spawn")
                exit_code = await _drain(child, reader, meter)
                mark("process")
                report = child.read_report()
        except ProgramGoneError as error:
            meter.say(f"{words.cannot_start(str(error))}\n")
            return _End("failed")
        if child.limit or meter.full:
            return _End("limit", limit=child.limit)
        return _End("ok" if exit_code == 0 else "failed", exit_code, report=report)
    return _End("timeout")


def _env(task: Task) -> dict[str, str]:
    """Return the environment of the run's process."""
    home = task.box.inside(task.workspace.folder.path) / HOME
    env = build_env(task.toolchain, home)
    if task.machines:
        env |= task.machines.env(env["PATH"], report_path(home))
    if task.command.subcommand in ("clippy", "fmt"):
        env |= _component_env(task.toolchain)
    if task.command.kind == "new":
        # The repository is not shown, and making it would read git's configuration, which a run cannot see.
        env["CARGO_CARGO_NEW_VCS"] = "none"
    return env


def _component_env(toolchain: Toolchain) -> dict[str, str]:
    """Return the variables for Clippy and rustfmt. Clippy runs instead of the wrapper that would pass the sysroot."""
    return {
        "CARGO": str(toolchain.cargo),
        "RUSTFMT": str(components.program(toolchain, "rustfmt")),
        "SYSROOT": str(toolchain.rustc.parent.parent if toolchain.rustc != toolchain.compiler else toolchain.sysroot),
    }


def _may_start_machine(task: Task) -> bool:
    """Return True if the command may start an emulator. Following it takes a thread ten times a second."""
    return bool(task.machines) and (task.command.kind == "emulate" or task.command.subcommand in ("run", "test"))


async def _drain(child: Confined, reader: CargoReader | PlainReader | TargetReader, meter: Meter) -> int | None:
    """Read both streams as they come. Return the exit code, or None if the output limit ended the process."""

    async def pump(source: ByteReceiveStream | None, read: Callable[[bytes], list[Event]]) -> None:
        assert source is not None
        async for data in source:
            if not (meter.takes(len(data)) and meter.pass_on(read(data))):
                group.cancel_scope.cancel()
                return
            if meter.passed > _UNPACED_EVENTS:
                # A program that writes single bytes would make an event of each.
                await anyio.sleep(_PACE_SECONDS)

    async with anyio.create_task_group() as group:
        group.start_soon(pump, child.process.stdout, reader.stdout)
        group.start_soon(pump, child.process.stderr, reader.stderr)
        await child.process.wait()
        await child.end()
        # A process that left the group may keep the pipes open forever, so reading ends at a deadline.
        group.cancel_scope.deadline = anyio.current_time() + _LAST_OUTPUT_SECONDS
    return child.process.returncode


def _argv(task: Task) -> list[str]:
    command = task.command
    match command.kind:
        case "cargo":
            # Clippy and rustfmt start directly: cargo would first look for an alias in the configuration.
            external = {"clippy": "cargo-clippy", "fmt": "cargo-fmt"}.get(command.subcommand)
            cargo = components.program(task.toolchain, external) if external else task.toolchain.cargo
            messages = [_MESSAGES] if command.subcommand in _COMPILES and "--help" not in command.options else []
            rest = ["--", *command.rest] if command.rest else []
            return [str(cargo), command.subcommand, *messages, *command.options, *rest]
        case "new":
            return [str(task.toolchain.cargo), "new", *command.options]
        case "rustc":
            return [str(task.toolchain.rustc), *command.options]
        case "rustup":
            return [str(task.toolchain.rustc), "--print", "target-list"]
        case "program" | "answer":
            return list(command.options)
        case "lookup" | "emulate":
            folders = f"{task.machines.folder}:{TOOL_PATH}" if task.machines else TOOL_PATH
            return [shutil.which(command.program, path=folders) or command.program, *command.options]


def _written_files(task: Task) -> list[Event]:
    """Return the files that ``cargo new`` made, as text, or those that ``cargo fmt`` changed, as edits to accept."""
    if task.command.kind == "new":
        shown = (f"\n{path}\n{indent(text, '    ', bool)}\n" for path, text in task.workspace.new_files())
        return [Output(stream="stdout", text="".join(shown))]
    if task.command.subcommand != "fmt":
        return []
    events: list[Event] = []
    for path, text in task.files.items():
        changed = task.workspace.read(path, _LONGEST_EDIT)
        if changed is not None and changed != text:
            events.append(Edit(path=path, text=changed))
    if not events and not set(task.command.options) & {"--help", "-h", "--version"}:
        events.append(Output(stream="stdout", text=words.NOTHING_TO_FORMAT))
    return events


async def _collect_artifact(
    task: Task, executables: tuple[str, ...], mark: Mark
) -> tuple[Built, Artifact] | tuple[None, None]:
    root = task.workspace.folder.path
    path = task.workspace.inside(task.box.outside(root, executables[-1])) if executables else None
    if path is None:
        return None, None
    taken = await in_thread(_take, task, path)
    if taken is None:
        return None, None
    size, digest = taken
    mark("collect")
    kept = task.keep / PROGRAM
    digests = [] if digest is None else [digest]
    async with anyio.create_task_group() as group:
        if not digests:
            group.start_soon(in_thread, lambda: digests.append(_digest(kept)))
        facts = await task.facts_of(kept)
    mark("facts")
    companions: tuple[Path, ...] = ()
    more = 0
    if has_companions(facts.format):
        companions, more = await in_thread(task.workspace.keep_beside, path, facts.format, task.keep)
    return Built(kept, path, companions, size + more), Artifact(
        path=path, bytes=size, sha256=digests[0], **asdict(facts)
    )


def _take(task: Task, path: str) -> tuple[int, str | None] | None:
    """Take the artifact out of the folder; return its size, and its digest unless it is large.

    A debug build of a std program is 10 MB, so it is hashed while the inspector reads it.
    """
    size = task.workspace.keep(path, task.keep)
    return None if size is None else (size, _digest(task.keep / PROGRAM) if size < _HASHED_AT_ONCE else None)


def _digest(kept: Path) -> str:
    with kept.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
