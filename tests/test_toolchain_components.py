"""Clippy and rustfmt: which compilers lack them, and how they come without more rights."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from app.toolchain import Toolchain, components, debian
from tests.support.processes import put_on_path

pytestmark = pytest.mark.anyio


@pytest.fixture
def bare(toolchains: tuple[Toolchain, ...], tmp_path: Path) -> Toolchain:
    """A compiler in a folder without any component."""
    (tmp_path / "bin").mkdir()
    return replace(toolchains[-1], cargo=tmp_path / "bin/cargo", source="rustup", sysroot=tmp_path / "fresh")


def test_a_component_is_there_with_all_its_programs(bare: Toolchain) -> None:
    assert components.lacking(bare) == ("clippy", "rustfmt")
    bare.cargo.with_name("cargo-clippy").touch()
    assert components.lacking(bare) == ("clippy", "rustfmt")
    bare.cargo.with_name("clippy-driver").touch()
    assert components.lacking(bare) == ("rustfmt",)


@pytest.mark.parametrize("source", ["system", "rustup"])
async def test_packages_are_those_of_the_compilers_own_version(
    bare: Toolchain, source: Literal["system", "rustup"], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def offered(names: Iterable[str]) -> dict[str, tuple[int, ...]]:
        assert "rustfmt-web" in names
        return {"rustfmt": (1, 63, 0), "rustfmt-web": (1, 96, 0), "rust-web-clippy": (1, 95, 0)}

    monkeypatch.setattr(debian, "is_debian", lambda: True)
    monkeypatch.setattr(debian, "offered", offered)
    monkeypatch.setattr(components, "has", lambda _toolchain, _component: False)
    system = replace(bare, source=source, cargo=Path("/usr/bin/cargo"), version="1.96.0")
    assert await components.packages(system) == (("rustfmt-web",) if source == "system" else ())


async def test_rustup_is_asked_for_what_its_toolchain_lacks(
    bare: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = (
        f'[ "$*" = "component add --toolchain fresh clippy rustfmt" ] && touch {tmp_path}/bin/rustfmt {tmp_path}/asked'
    )
    put_on_path(tmp_path / "rustup", add, monkeypatch)
    assert await components.can_add([bare])
    told: list[str] = []
    await components.add([bare], told.append)
    assert (tmp_path / "asked").exists()
    assert told[0] == f"Asking rustup for clippy and rustfmt of Rust {bare.version}"
    for name in ("cargo-fmt", "cargo-clippy", "clippy-driver"):
        bare.cargo.with_name(name).touch()
    assert not await components.can_add([bare])


async def test_a_refusal_of_rustup_is_told_and_hinders_nothing(
    bare: Toolchain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on_path(tmp_path / "rustup", "echo 'error: no network' >&2; exit 1", monkeypatch)
    told: list[str] = []
    await components.add([bare], told.append)
    assert told[-1] == "  rustup could not: error: no network"
