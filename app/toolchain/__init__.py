"""Find compilers and their targets, set up missing ones, and report the state of the machine."""

from app.toolchain.compiled import compile_program
from app.toolchain.demand import Demand, Preparation
from app.toolchain.discover import Survey, discover, survey
from app.toolchain.doctor import DoctorReport, examine
from app.toolchain.environment import build_env
from app.toolchain.era import setup_era
from app.toolchain.explain import explanation, is_code
from app.toolchain.model import Flaw, Origin, Toolchain, default_toolchain, missing, preferred
from app.toolchain.needs import addition
from app.toolchain.progress import TransientLine, sparse
from app.toolchain.provision import add_targets, setup
from app.toolchain.tools import EMULATORS, TOOL_PATH, missing_tools, setup_tools, tools_command

__all__ = [
    "EMULATORS",
    "TOOL_PATH",
    "Demand",
    "DoctorReport",
    "Flaw",
    "Origin",
    "Preparation",
    "Survey",
    "Toolchain",
    "TransientLine",
    "add_targets",
    "addition",
    "build_env",
    "compile_program",
    "default_toolchain",
    "discover",
    "examine",
    "explanation",
    "is_code",
    "missing",
    "missing_tools",
    "preferred",
    "setup",
    "setup_era",
    "setup_tools",
    "sparse",
    "survey",
    "tools_command",
]
