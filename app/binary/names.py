"""Demangled names, without the libraries for machine code, and without the demangler before the first name."""

from app.binary.model import text


def readable(name: str) -> str:
    """Return a demangled Rust symbol; a name that is not mangled is returned unchanged."""
    import demangle  # noqa: PLC0415 - 2 MB that a server does without until the stepper is opened

    try:
        return text(demangle.demangle(name, language="rust"))
    except (ValueError, RecursionError, demangle.DemanglingError):
        return name
