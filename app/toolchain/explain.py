"""The compiler's long explanation of an error code."""

import re
from pathlib import Path

from app.toolchain.environment import build_env
from app.toolchain.model import Toolchain
from app.toolchain.process import capture

_CODE = re.compile(r"E0[0-9]{3}")


def is_code(text: str) -> bool:
    """Return True if the text has the form of a compiler's error code."""
    return _CODE.fullmatch(text) is not None


async def explanation(toolchain: Toolchain, code: str) -> str | None:
    """Return the Markdown of ``rustc --explain CODE``, or None if this compiler does not explain the code."""
    if not is_code(code):
        return None
    result = await capture([toolchain.compiler, "--explain", code], env=build_env(toolchain, Path("/nonexistent")))
    return result.output if result.code == 0 else None
