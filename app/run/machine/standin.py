"""The program that stands in front of QEMU in a run: ``standin.rs``, compiled once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.toolchain import EMULATORS, Toolchain, compiled, missing_tools

_SOURCE = Path(__file__).with_name("standin.rs")


@dataclass(frozen=True)
class StandIn:
    """A folder with the stand-in under the name of each emulator, and how many seconds a machine may run."""

    folder: Path
    seconds: float

    def env(self, path: str, report: Path) -> Mapping[str, str]:
        """The variables of a run whose search path was ``path`` and whose machine is reported to ``report``."""
        return {
            "PATH": f"{self.folder}:{path}",
            "PLAYGROUND_MACHINE": str(report),
            "PLAYGROUND_MACHINE_SECONDS": f"{self.seconds:g}",
        }


async def stand_in(cache_dir: Path, toolchains: tuple[Toolchain, ...], seconds: float) -> StandIn | None:
    """The stand-in; None when there is no emulator to stand before, or no compiler for it."""
    if len(missing_tools(EMULATORS)) == len(EMULATORS):
        return None
    folder = await compiled(_SOURCE, cache_dir, toolchains, EMULATORS)
    return StandIn(folder, seconds) if folder else None
