"""Find every compiler on the machine quickly, without failing if one of them is broken."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from app.toolchain.model import Flaw, Origin, Toolchain, release
from app.toolchain.places import Candidate, candidates
from app.toolchain.process import capture
from app.toolchain.sysroot import targets_in, with_built_targets

_RELEASE = re.compile(r"^(?:release:|cargo) (\d+\.\d+\.\d+\S*)", re.MULTILINE)
_HOST = re.compile(r"^host: (\S+)$", re.MULTILINE)
_COMMIT = re.compile(r"^commit-hash: ([0-9a-f]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Survey:
    """The compilers on the machine.

    ``toolchains`` have unique names and are sorted from oldest to newest. ``shadowed`` are working compilers with the
    same name as one of these. ``flaws`` are the compilers that do not work.
    """

    toolchains: tuple[Toolchain, ...]
    shadowed: tuple[Toolchain, ...] = ()
    flaws: tuple[Flaw, ...] = ()

    @property
    def everyone(self) -> tuple[Toolchain, ...]:
        """All working compilers, including shadowed ones."""
        return self.toolchains + self.shadowed


async def discover(cache_dir: Path) -> tuple[Toolchain, ...]:
    """Return the toolchains that runs can use, oldest first, with unique names."""
    return (await survey(cache_dir)).toolchains


async def survey(cache_dir: Path) -> Survey:
    """Probe every compiler in rustup's folder, on ``PATH``, in ``/usr/bin`` and under ``cache_dir``, concurrently."""
    cache_dir = cache_dir.absolute()
    found: list[Toolchain | Flaw] = []

    async def ask(candidate: Candidate) -> None:
        found.append(await probe(candidate, cache_dir))

    async with anyio.create_task_group() as tasks:
        for candidate in candidates(cache_dir):
            tasks.start_soon(ask, candidate)
    flaws = sorted((one for one in found if isinstance(one, Flaw)), key=lambda flaw: flaw.path)
    working = [one for one in found if isinstance(one, Toolchain)]
    best: dict[str, Toolchain] = {}
    for toolchain in sorted(working, key=lambda one: (len(one.targets), one.stable, one.release, str(one.compiler))):
        best[toolchain.name] = toolchain
    named = sorted(best.values(), key=lambda one: one.release)
    return Survey(tuple(named), tuple(one for one in working if one not in named), tuple(flaws))


async def probe(candidate: Candidate, cache_dir: Path) -> Toolchain | Flaw:
    """Return the toolchain in a folder, or the reason why it does not work."""
    try:
        candidate = await _resolve_shim(candidate)
        for program in (candidate.compiler, candidate.cargo):
            if not os.access(program, os.X_OK):
                return Flaw(candidate.compiler, f"{candidate.compiler} has no toolchain: {program} is missing.")
        answers = await _ask_versions(candidate)
        for program, answer in answers.items():
            if not _RELEASE.search(answer):
                last = answer.strip().rpartition("\n")[2]
                return Flaw(candidate.compiler, f"{program} does not report its version: {last or 'no answer'}")
        rustc, cargo = answers[candidate.compiler], answers[candidate.cargo]
        if not _versions_match(candidate, _first(_RELEASE, rustc), _first(_RELEASE, cargo)):
            versions = f"rustc {_first(_RELEASE, rustc)} and cargo {_first(_RELEASE, cargo)}"
            return Flaw(candidate.compiler, f"{candidate.folder} has {versions}, which do not belong together.")
        has_library = (candidate.folder.parent / "lib/rustlib").is_dir()
        sysroot = candidate.folder.parent if has_library else await _sysroot_of(candidate)
        return _toolchain(candidate, rustc, cargo, sysroot, cache_dir)
    except OSError as error:
        return Flaw(candidate.compiler, f"{candidate.compiler} cannot be read: {error.strerror}.")


async def _resolve_shim(candidate: Candidate) -> Candidate:
    """Return the toolchain's own folder if the programs are links to it or a toolchain manager's shims."""
    if (candidate.folder.parent / "lib/rustlib").is_dir():
        return candidate
    sysroot = await _sysroot_of(candidate)
    real = replace(candidate, folder=sysroot / "bin")
    return real if real.compiler.is_file() and real.cargo.is_file() else candidate


async def _sysroot_of(candidate: Candidate) -> Path:
    result = await capture([candidate.compiler, "--print", "sysroot"], env={**os.environ, **candidate.env}, seconds=10)
    return Path(result.output.strip() or "/") if result.code == 0 else candidate.folder.parent


async def _ask_versions(candidate: Candidate) -> dict[Path, str]:
    answers: dict[Path, str] = {}
    # As bare as a build's environment: a compiler that needs the user's variables would fail in a build as well.
    env = {"PATH": "/usr/bin:/bin", "HOME": "/", **candidate.env}

    async def ask(program: Path, option: str) -> None:
        answers[program] = (await capture([program, option], env=env, seconds=10)).output

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, candidate.compiler, "-vV")
        # cargo -vV also asks for the name of the operating system, which starts twenty programs on Debian.
        tasks.start_soon(ask, candidate.cargo, "-V")
    return answers


def _toolchain(candidate: Candidate, rustc: str, cargo: str, sysroot: Path, cache_dir: Path) -> Toolchain | Flaw:
    version, host = _first(_RELEASE, rustc), _first(_HOST, rustc)
    added: Origin = "rustup" if candidate.source == "rustup" else "distribution"
    targets: dict[str, Origin] = {target: "shipped" if target == host else added for target in targets_in(sysroot)}
    if host not in targets:
        return Flaw(candidate.compiler, f"{candidate.compiler} has no standard library for its host, {host}.")
    shipped = Toolchain(
        name=".".join(version.split(".")[:2]),
        version=version,
        stable="-" not in version,
        source=candidate.source,
        host=host,
        cargo=candidate.cargo,
        rustc=candidate.compiler,
        compiler=candidate.compiler,
        sysroot=sysroot,
        targets=targets,
        env=candidate.env,
        cargo_version=_first(_RELEASE, cargo),
        commit=_first(_COMMIT, rustc),
    )
    return with_built_targets(shipped, cache_dir)


def _versions_match(candidate: Candidate, rustc: str, cargo: str) -> bool:
    if release(rustc)[:2] == release(cargo)[:2]:
        return True
    # Debian 12 pairs rustc 1.63 with cargo 1.65. Elsewhere, different versions are a mistake.
    distribution = candidate.source == "era" or candidate.folder == Path("/usr/bin")
    return distribution and release(rustc) < release(cargo) < (release(rustc)[0], release(rustc)[1] + 4)


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
