"""The stand-in, ``standin.rs``: a program that runs start instead of QEMU. It is compiled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.toolchain import EMULATORS, Toolchain, compile_program, missing_tools

_SOURCE = Path(__file__).with_name("standin.rs")


@dataclass(frozen=True)
class StandIn:
    """A folder with the stand-in under the name of each emulator, and the seconds that a machine may run."""

    folder: Path
    seconds: float

    def env(self, path: str, report: Path) -> Mapping[str, str]:
        """Return the environment variables of a run with the search path ``path``; ``report`` is the file to write."""
        return {
            "PATH": f"{self.folder}:{path}",
            "PLAYGROUND_MACHINE": str(report),
            "PLAYGROUND_MACHINE_SECONDS": f"{self.seconds:g}",
        }


async def stand_in(cache_dir: Path, toolchains: tuple[Toolchain, ...], seconds: float) -> StandIn | None:
    """Compile the stand-in, unless it is there; return None if there is no emulator or no compiler."""
    if len(missing_tools(EMULATORS)) == len(EMULATORS):
        return None
    folder = await compile_program(_SOURCE, cache_dir, toolchains, EMULATORS)
    return StandIn(folder, seconds) if folder else None
