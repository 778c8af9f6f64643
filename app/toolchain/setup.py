"""Make this machine able to build for bare metal, by the first way that works here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from app.toolchain import debian
from app.toolchain.build import BuildError, build_target, prove
from app.toolchain.discover import Survey, rustup_program, survey
from app.toolchain.lock import locked
from app.toolchain.model import Toolchain, preferred
from app.toolchain.needs import BARE_METAL, can_build_core, needs
from app.toolchain.process import TIMED_OUT, stream
from app.toolchain.progress import Say, progress
from app.toolchain.sysroot import place, refresh

_RUSTUP_SECONDS = 180.0


async def setup(cache_dir: Path, say: Say, targets: tuple[str, ...] = (BARE_METAL,)) -> bool:
    """Provide every target, a linker for the host and the look-up tools; whether the lessons can be done.

    Each step is announced to ``say`` before it is done. It can be interrupted and repeated at any time;
    when all is there it only proves so. As a normal user it never asks for more rights: it says the one
    command instead. Another set-up in the same cache folder is waited for.
    """
    found = await survey(cache_dir)
    for toolchain in found.everyone:
        refresh(place(toolchain, cache_dir), toolchain)
    if await _complete(cache_dir, say, targets):
        return True
    try:
        async with locked(cache_dir, say) as lock:
            for target in targets:
                await _provide(_Work(cache_dir, say, target, lock))
            await _install_missing(cache_dir, say, targets)
    except OSError as error:
        say(f"The cache folder {cache_dir} cannot be used: {error.strerror or error}.")
    return await _conclude(cache_dir, say, targets)


@dataclass(frozen=True)
class _Work:
    cache_dir: Path
    say: Say
    target: str
    lock: int


async def _complete(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> bool:
    found = await survey(cache_dir)
    if (await needs(found, targets)).missing:
        return False
    return all([await _proven(found, target, say) for target in targets])


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


async def _provide(work: _Work) -> bool:
    ways: tuple[Callable[[_Work], Awaitable[bool]], ...] = (_by_rustup, _by_sources, _by_distribution)
    if await _is_there(work):
        return True
    for way in ways:
        if await way(work) and await _is_there(work):
            return True
    return False


async def _is_there(work: _Work) -> bool:
    return await _proven(await survey(work.cache_dir), work.target, work.say)


async def _by_rustup(work: _Work) -> bool:
    rustup = rustup_program()
    if rustup is None:
        return False
    work.say(f"Asking rustup for the target: rustup target add {work.target}")
    lines: list[str] = []
    async with progress(work.say):
        code = await stream([rustup, "target", "add", work.target], lines.append, seconds=_RUSTUP_SECONDS)
    if code:
        why = "it took too long" if code == TIMED_OUT else _error(lines)
        work.say(f"  rustup could not: {why}")
    return code == 0


async def _by_sources(work: _Work) -> bool:
    found = await survey(work.cache_dir)
    able = tuple(toolchain for toolchain in found.everyone if can_build_core(toolchain))
    toolchain = preferred(able, None)
    return toolchain is not None and await _build(work, toolchain)


async def _build(work: _Work, toolchain: Toolchain) -> bool:
    work.say(
        f"Building core for {work.target} once, from the sources of Rust {toolchain.version}, "
        f"into {work.cache_dir} (about half a minute)."
    )
    try:
        await build_target(toolchain, work.target, work.cache_dir, work.say, work.lock)
    except BuildError as error:
        work.say(f"  {error}.")
        return False
    return True


async def _by_distribution(work: _Work) -> bool:
    if not (debian.is_debian() and debian.is_root()):
        return False
    if not debian.has_lists() and not await debian.update(work.say):
        return False
    packages = await debian.compiler_packages()
    if not packages:
        work.say("The distribution offers no Rust from 1.82 on.")
        return False
    others = (await needs(await survey(work.cache_dir), (work.target,))).packages
    return await _install(tuple(dict.fromkeys(packages + others)), work.say) and await _by_sources(work)


async def _install_missing(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> None:
    lacking = await needs(await survey(cache_dir), targets)
    if lacking.packages and not lacking.targets and debian.is_root():
        await _install(lacking.packages, say)


async def _install(packages: tuple[str, ...], say: Say) -> bool:
    say(f"Installing the distribution's packages: {' '.join(packages)}")
    return await debian.install(packages, say)


async def _conclude(cache_dir: Path, say: Say, targets: tuple[str, ...]) -> bool:
    lacking = await needs(await survey(cache_dir), targets)
    for sentence in lacking.missing:
        say(sentence)
    if lacking.missing:
        say(f"To mend it: {lacking.command or 'install Rust with rustup (https://rustup.rs) and a C compiler.'}")
    return not lacking.fatal


def _error(lines: list[str]) -> str:
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it said nothing"])[0].removeprefix("error:").strip()
