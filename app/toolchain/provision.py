"""Make this machine able to build for the targets of the lessons, by the first way that works here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from app.toolchain import components, debian
from app.toolchain.build import BuildError, build_targets, prove, rust_src
from app.toolchain.discover import Survey, survey
from app.toolchain.lock import locked
from app.toolchain.model import Toolchain, preferred
from app.toolchain.needs import can_build_core, needs
from app.toolchain.places import rustup_program
from app.toolchain.process import TIMED_OUT, stream
from app.toolchain.progress import Say, progress
from app.toolchain.sysroot import place, refresh

_RUSTUP_SECONDS = 120.0


async def setup(cache_dir: Path, say: Say, targets: tuple[str, ...], essential: tuple[str, ...] | None = None) -> bool:
    """Provide every target, a linker for the host and the look-up tools; whether the lessons can be done.

    Each step is announced to ``say`` before it is done. It can be interrupted and repeated at any time;
    when all is there it only proves so. As a normal user it never asks for more rights: it says the one
    command instead. Another set-up in the same cache folder is waited for. ``essential`` as for ``needs``.
    """
    cache_dir = cache_dir.absolute()
    found = await _refreshed(cache_dir)
    lacking = [target for target in targets if not await _proven(found, target, say)]
    tools = debian.is_root() and (await needs(found, targets)).tool_packages
    if lacking or tools or await components.obtainable(found.toolchains):
        try:
            async with locked(cache_dir, say) as lock:
                work = _Work(cache_dir, say, tuple(lacking), lock)
                lacking = await _provide(work, (_by_rustup, _by_sources, _by_distribution))
                await _add_tools(cache_dir, say, targets)
                await components.add((await survey(cache_dir)).toolchains, say)
        except OSError as error:
            say(f"The cache folder {cache_dir} cannot be used: {error.strerror or error}.")
        found = await survey(cache_dir)
    return await _conclude(found, say, targets, essential) and not lacking


async def add_targets(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> tuple[str, ...]:
    """Provide targets by what is here already, with no package installed; those that lack in the end.

    Says each step as ``setup`` does, and waits for another set-up. Raises ``OSError`` for a cache folder that cannot
    be used.
    """
    async with locked(cache_dir, say) as lock:
        work = _Work(cache_dir, say, targets, lock)
        return tuple(await _provide(work, (_by_rustup, _by_sources)))


@dataclass(frozen=True)
class _Work:
    cache_dir: Path
    say: Say
    targets: tuple[str, ...]
    lock: int

    @property
    def names(self) -> str:
        return " ".join(self.targets)


_Way = Callable[[_Work], Awaitable[bool]]


async def _refreshed(cache_dir: Path) -> Survey:
    found = await survey(cache_dir)
    gained = [refresh(place(toolchain, cache_dir), toolchain) for toolchain in found.everyone]
    return await survey(cache_dir) if any(gained) else found


async def _proven(found: Survey, target: str, say: Say) -> bool:
    """Whether one of the toolchains really builds for the target, the preferred one asked first."""
    able = tuple(toolchain for toolchain in found.toolchains if toolchain.can_build(target))
    while toolchain := preferred(able, target):
        try:
            await prove(toolchain, target)
        except BuildError as error:
            say(f"{error}.")
            able = tuple(one for one in able if one is not toolchain)
        else:
            say(f"Rust {toolchain.version} builds for {target}.")
            return True
    return False


async def _provide(work: _Work, ways: tuple[_Way, ...]) -> list[str]:
    """Go one way after the other for all that still lacks; what lacks in the end."""
    lacking = await _lacking(work)
    for way in ways:
        if lacking and await way(left := replace(work, targets=tuple(lacking))):
            lacking = await _lacking(left)
    return lacking


async def _lacking(work: _Work) -> list[str]:
    found = await survey(work.cache_dir)
    return [target for target in work.targets if not await _proven(found, target, work.say)]


async def _by_rustup(work: _Work) -> bool:
    rustup = rustup_program()
    if rustup is None:
        return False
    work.say(f"Asking rustup for the target: rustup target add {work.names}")
    lines: list[str] = []
    async with progress(work.say):
        code = await stream([rustup, "target", "add", *work.targets], lines.append, seconds=_RUSTUP_SECONDS)
    if code:
        why = "it took too long" if code == TIMED_OUT else _error(lines)
        work.say(f"  rustup could not: {why}")
    return code == 0


async def _by_sources(work: _Work) -> bool:
    found = await survey(work.cache_dir)
    complete = tuple(toolchain for toolchain in found.everyone if can_build_core(toolchain))
    # With sources alone cargo fetches what they depend on, if there is a network.
    toolchain = preferred(complete or tuple(one for one in found.everyone if rust_src(one)), None)
    return toolchain is not None and await _build(work, toolchain)


async def _build(work: _Work, toolchain: Toolchain) -> bool:
    work.say(
        f"Building core for {work.names} once, from the sources of Rust {toolchain.version}, "
        f"into {work.cache_dir} (about half a minute{' for each' if len(work.targets) > 1 else ''})."
    )
    try:
        await build_targets(toolchain, work.targets, work.cache_dir, work.say, work.lock)
    except BuildError as error:
        work.say(f"  {error}.")
        # One that cannot be built must not keep the others away.
        return len(work.targets) > 1 and await _each(work, toolchain)
    return True


async def _each(work: _Work, toolchain: Toolchain) -> bool:
    built = [await _build(replace(work, targets=(target,)), toolchain) for target in work.targets]
    return any(built)


async def _by_distribution(work: _Work) -> bool:
    if not (debian.is_debian() and debian.is_root()):
        return False
    # Old lists name an older compiler, whose sources may lack what they depend on; without a network they must do.
    if not await debian.update(work.say) and not debian.has_lists():
        return False
    packages = await debian.compiler_packages()
    if not packages:
        work.say("The distribution offers no Rust that is recent enough.")
        return False
    tools = (await needs(await survey(work.cache_dir), work.targets)).tool_packages
    return await debian.install(packages + tools, work.say) and await _by_sources(work)


async def _add_tools(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> None:
    packages = (await needs(await survey(cache_dir), targets)).tool_packages
    if packages and debian.is_root():
        await debian.install(packages, say)


async def _conclude(found: Survey, say: Say, targets: tuple[str, ...], essential: tuple[str, ...] | None) -> bool:
    lacking = await needs(found, targets, essential)
    for sentence in lacking.missing:
        say(sentence)
    if lacking.missing:
        # Root has tried the packages already: repeating the set-up would not help, apt's own answer may.
        tried = lacking.packages and debian.is_root()
        command = debian.install_command(lacking.packages) if tried else lacking.command
        say(f"To mend it: {command or 'install Rust with rustup (https://rustup.rs), and a C compiler'}")
    return not lacking.fatal


def _error(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[0].removeprefix("error:").strip()
