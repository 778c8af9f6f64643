"""Set up the targets of the lessons, in the first way that works on this machine."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from app.toolchain import components, debian
from app.toolchain.build import BuildError, build_targets, prove, rust_src
from app.toolchain.discover import Survey, survey
from app.toolchain.lock import locked
from app.toolchain.model import Toolchain, preferred
from app.toolchain.needs import can_build_core, needs
from app.toolchain.places import rustup_program
from app.toolchain.process import TIMED_OUT, side_by_side, stream
from app.toolchain.progress import Say, progress
from app.toolchain.sysroot import place, refresh

_RUSTUP_SECONDS = 120.0


async def setup(cache_dir: Path, say: Say, targets: tuple[str, ...], essential: tuple[str, ...] | None = None) -> bool:
    """Set up every target, a linker for the host and the look-up tools; return True if the lessons can be done.

    Announces each step to ``say`` before it begins. Can be interrupted and repeated at any time; if nothing is missing,
    it only proves that. Never asks for root's rights, but prints the command for root. Waits for another set-up in the
    same cache folder. ``essential`` is as for ``needs``.
    """
    cache_dir = cache_dir.absolute()
    found = await survey(cache_dir)
    gained = [refresh(place(toolchain, cache_dir), toolchain) for toolchain in found.everyone]
    if any(gained):
        found = await survey(cache_dir)
    lacking = await _lacking_in(found, targets, say)
    if (
        lacking
        or (debian.is_root() and (await needs(found, targets)).tool_packages)
        or await components.can_add(found.toolchains)
    ):
        try:
            async with locked(cache_dir, say) as lock:
                work = _Work(cache_dir, say, tuple(lacking), lock)
                lacking = await _provide(work, (_by_rustup, _by_sources, _by_distribution))
                await _add_tools(cache_dir, say, targets)
                await components.add((await survey(cache_dir)).toolchains, say)
        except OSError as error:
            say(f"The cache folder {cache_dir} cannot be used: {error.strerror or error}.")
        found = await survey(cache_dir)
    return await _report_needs(found, say, targets, essential) and not lacking


async def add_targets(cache_dir: Path, say: Say, targets: tuple[str, ...], only: str | None = None) -> tuple[str, ...]:
    """Set up targets without installing packages; return those that are still missing.

    ``only`` is the name of the toolchain that must have them; by default one of the toolchains must. Announces each
    step and waits for another set-up, as ``setup`` does. Raises ``OSError`` if the cache folder cannot be used.
    """
    cache_dir = cache_dir.absolute()
    async with locked(cache_dir, say) as lock:
        work = _Work(cache_dir, say, targets, lock, only)
        return tuple(await _provide(work, (_by_rustup, _by_sources)))


@dataclass(frozen=True)
class _Work:
    cache_dir: Path
    say: Say
    targets: tuple[str, ...]
    lock: int
    only: str | None = None

    @property
    def names(self) -> str:
        return " ".join(self.targets)

    async def survey(self) -> Survey:
        """Return the toolchains that may have the targets."""
        found = await survey(self.cache_dir)
        toolchains, shadowed = (
            tuple(one for one in several if self.only in (None, one.name))
            for several in (found.toolchains, found.shadowed)
        )
        return Survey(toolchains, shadowed, found.flaws)


_Way = Callable[[_Work], Awaitable[bool]]


async def _proven(found: Survey, target: str, say: Say) -> bool:
    """Return True if one of the toolchains really builds for the target. Tries the preferred one first."""
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
    """Try one way after the other for the targets that are still missing; return those that are missing at the end."""
    lacking = await _lacking(work)
    for way in ways:
        if lacking and await way(left := replace(work, targets=tuple(lacking))):
            lacking = await _lacking(left)
    return lacking


async def _lacking(work: _Work) -> list[str]:
    return await _lacking_in(await work.survey(), work.targets, work.say)


async def _lacking_in(found: Survey, targets: Sequence[str], say: Say) -> list[str]:
    """Return the targets that no toolchain builds for. They are proven side by side and reported in their order."""
    said: dict[str, list[str]] = {target: [] for target in targets}
    proven: set[str] = set()

    async def prove_one(target: str) -> None:
        if await _proven(found, target, said[target].append):
            proven.add(target)

    await side_by_side(prove_one, targets)
    for line in chain.from_iterable(said.values()):
        say(line)
    return [target for target in targets if target not in proven]


async def _by_rustup(work: _Work) -> bool:
    rustup = rustup_program()
    if rustup is None:
        return False
    named = [one.sysroot.name for one in (await work.survey()).everyone if work.only and one.source == "rustup"]
    if work.only and not named:
        return False
    arguments = ["target", "add", *(f"--toolchain={name}" for name in named), *work.targets]
    work.say(f"Asking rustup for the target: rustup {' '.join(arguments)}")
    lines: list[str] = []
    async with progress(work.say):
        code = await stream([rustup, *arguments], lines.append, seconds=_RUSTUP_SECONDS)
    if code:
        errors = [line for line in lines if line.startswith("error:")] or lines or ["it printed no message"]
        reason = "it took too long" if code == TIMED_OUT else errors[0].removeprefix("error:").strip()
        work.say(f"  rustup failed: {reason}")
    return code == 0


async def _by_sources(work: _Work) -> bool:
    found = await work.survey()
    complete = tuple(toolchain for toolchain in found.everyone if can_build_core(toolchain))
    # If only the dependencies of the sources are missing, cargo downloads them.
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
        # A target that cannot be built must not prevent the others. One that was tried alone has failed.
        alone = work.targets if len(work.targets) > 1 else ()
        return any([await _build(replace(work, targets=(target,)), toolchain) for target in alone])
    return True


async def _by_distribution(work: _Work) -> bool:
    if not (debian.is_debian() and debian.is_root()):
        return False
    # Stale package lists offer an older compiler, whose sources may lack their dependencies. Without a network, the
    # stale lists have to do.
    if not await debian.update(work.say) and not debian.has_lists():
        return False
    packages = await debian.compiler_packages()
    if not packages:
        work.say("The distribution offers no recent Rust compiler.")
        return False
    tools = (await needs(await survey(work.cache_dir), work.targets)).tool_packages
    return await debian.install(packages + tools, work.say) and await _by_sources(work)


async def _add_tools(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> None:
    packages = (await needs(await survey(cache_dir), targets)).tool_packages
    if packages and debian.is_root():
        await debian.install(packages, say)


async def _report_needs(found: Survey, say: Say, targets: tuple[str, ...], essential: tuple[str, ...] | None) -> bool:
    lacking = await needs(found, targets, essential)
    for sentence in lacking.missing:
        say(sentence)
    if lacking.missing:
        # For root, set-up has already tried to install the packages. Only apt's own messages can help now.
        tried = lacking.packages and debian.is_root()
        command = debian.install_command(lacking.packages) if tried else lacking.command
        say(f"To fix it: {command or 'install Rust with rustup (https://rustup.rs), and a C compiler'}")
    return not lacking.fatal
