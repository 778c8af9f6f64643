"""Find cargo, rustc and targets; set up what is missing; say what is there."""

from app.toolchain.model import Toolchain, preferred

__all__ = ["Toolchain", "preferred"]
