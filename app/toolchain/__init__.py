"""Find cargo, rustc and targets; set up what is missing; say what is there."""

from app.toolchain.discover import Survey, discover, survey
from app.toolchain.doctor import DoctorReport, examine
from app.toolchain.environment import build_env
from app.toolchain.era import setup_era
from app.toolchain.model import Flaw, Origin, Toolchain, missing, preferred
from app.toolchain.needs import BARE_METAL
from app.toolchain.provision import add_targets, obtainable, setup

__all__ = [
    "BARE_METAL",
    "DoctorReport",
    "Flaw",
    "Origin",
    "Survey",
    "Toolchain",
    "add_targets",
    "build_env",
    "discover",
    "examine",
    "missing",
    "obtainable",
    "preferred",
    "setup",
    "setup_era",
    "survey",
]
