"""Answer ``rustup target list`` and ``rustup target add`` truthfully, without rustup.

Learners cannot change the playground's toolchains. Both answers follow from the targets that the chosen compiler knows
(``rustc --print target-list``) and from those that are ready here.
"""

from app.protocol.command import Command
from app.protocol.events import Event, Output
from app.run import words
from app.toolchain import Toolchain


class TargetReader:
    """Reads the compiler's list of targets and answers the command once the list is complete."""

    executables: tuple[str, ...] = ()

    def __init__(self, command: Command, toolchain: Toolchain) -> None:
        self.exit_code = 0
        self._command = command
        self._toolchain = toolchain
        self._out = bytearray()

    def stdout(self, data: bytes) -> list[Event]:
        """Collect the list."""
        self._out += data
        return []

    def stderr(self, data: bytes) -> list[Event]:
        """Pass the compiler's errors on."""
        return [Output(stream="stderr", text=data.decode("utf-8", "replace"))]

    def end(self) -> list[Event]:
        """Return the answer."""
        known = self._out.decode("utf-8", "replace").split()
        if self._command.subcommand == "list":
            return [Output(stream="stdout", text=self._list(known))]
        return [self._add(triple, known) for triple in self._command.options]

    def _list(self, known: list[str]) -> str:
        ready = self._toolchain.targets
        if self._command.options:
            return "".join(f"{triple}\n" for triple in known if triple in ready)
        return "".join(f"{triple}{' (installed)' if triple in ready else ''}\n" for triple in known)

    def _add(self, triple: str, known: list[str]) -> Event:
        name = self._toolchain.name
        origin = self._toolchain.targets.get(triple)
        if origin:
            return Output(stream="stdout", text=f"{words.target_ready(triple, name, origin)}\n")
        self.exit_code = 1
        refusal = words.target_not_installed if triple in known else words.target_unknown
        return Output(stream="stderr", text=f"{refusal(triple, name)}\n")
