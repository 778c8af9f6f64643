"""Which toolchain runs a lesson, and which one explains an error."""

from app.course import Lesson
from app.engine import Inventory
from app.engine.owner_lock import PerOwnerLock
from app.protocol.machine import ToolchainInfo
from app.toolchain import default_toolchain, is_code, preferred
from app.web.problem import ProblemError


class ToolchainChoice:
    """Chooses among the toolchains of the machine."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._explaining = PerOwnerLock()

    async def choose(self, lesson: Lesson, name: str | None) -> ToolchainInfo:
        """Return the toolchain of that name, or the lesson's default; raises ``ProblemError``."""
        toolchains = await self._inventory.toolchains(lesson.targets)
        names = ", ".join(toolchain.name for toolchain in toolchains)
        if name:
            chosen = next((toolchain for toolchain in toolchains if toolchain.name == name), None)
            if chosen is None:
                message = f"There is no toolchain {name[:20]!r} here; there is {names or 'none at all'}."
                raise ProblemError(422, "no-such-toolchain", message, "toolchain")
            return chosen
        default = default_toolchain(toolchains, lesson)
        if default is None:
            message = (
                "No Rust toolchain is on this machine; whoever runs the playground can mend it with playground setup."
            )
            raise ProblemError(503, "no-toolchain", message)
        return default

    async def explanation(self, code: str, name: str = "", asker: str = "") -> tuple[str, str]:
        """Return a toolchain's name and its explanation of an error code; raises ``ProblemError`` 404.

        Each ``asker`` has one question at a time answered: one who asks for every code delays only itself.
        """
        toolchains = await self._inventory.toolchains()
        chosen = next((one for one in toolchains if one.name == name), None) or preferred(toolchains, None)
        if chosen is None:
            raise ProblemError(404, "no-toolchain", "No Rust toolchain is on this machine that could explain an error.")
        async with self._explaining.of(asker):
            text = await self._inventory.explain(chosen.name, code) if is_code(code) else None
        if text is None:
            message = f"Rust {chosen.name} has no explanation of {code[:20]!r}; a code looks like E0463."
            raise ProblemError(404, "no-such-code", message, "code")
        return chosen.name, text
