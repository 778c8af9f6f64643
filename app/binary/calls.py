"""The chain of calls from the entry point to the learner's ``main``, as far as the file shows it.

On x86-64 each step is found in the code of the previous one. On other processors only the symbols' names are known.
"""

from collections.abc import Iterable, Iterator

from app.binary.code import Reference, references
from app.binary.image import Image
from app.binary.model import Call
from app.binary.names import readable

_C_RUNTIME = "__libc_start_main"
_RUST_RUNTIME = "std::rt::lang_start"


def before_main(image: Image, entry: int, name: str | None, undefined: Iterable[str] = ()) -> tuple[Call, ...]:
    """Return the chain. A program without a runtime has only the first step."""
    first = Call(name or f"{entry:#x}", "entry", entry)
    steps = tuple(_from_code(image, entry))
    return (first, *(steps or _from_symbols(image, undefined)))


def _from_code(image: Image, entry: int) -> Iterator[Call]:
    found = list(references(image, entry))
    runtime = next((one for one in found if one.how == "calls" and _name(image, one).startswith(_C_RUNTIME)), None)
    if runtime is None:
        return
    yield _call(image, runtime)
    main = next((one for one in found if one.how == "hands over" and _name(image, one) == "main"), None)
    if main is None or main.address is None:
        return
    yield _call(image, main)
    inside = list(references(image, main.address))
    rust = next((one for one in inside if one.how == "calls" and _name(image, one).startswith(_RUST_RUNTIME)), None)
    if rust is None:
        return
    yield _call(image, rust)
    own = next((one for one in inside if one.how == "hands over" and _name(image, one).endswith("::main")), None)
    if own:
        yield _call(image, own)


def _call(image: Image, one: Reference) -> Call:
    return Call(_name(image, one), one.how, one.address, library=one.address is None)


def _name(image: Image, one: Reference) -> str:
    symbol = image.function_at(one.address) if one.address is not None else None
    return readable(symbol.name) if symbol else readable(one.name or "").partition("@")[0]


def _from_symbols(image: Image, undefined: Iterable[str]) -> Iterator[Call]:
    if _C_RUNTIME in (name.partition("@")[0] for name in undefined):
        yield Call(_C_RUNTIME, "names", library=True)
    defined = {one.name: one for one in image.functions if one.name in (_C_RUNTIME, "main") or "lang_start" in one.name}
    for name, one in sorted(defined.items(), key=lambda item: (item[0] != _C_RUNTIME, item[0] != "main")):
        yield Call(readable(name), "names", one.address)
