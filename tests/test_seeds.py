"""Cargo's knowledge of a compiler, learned once and kept for the next start."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.engine.local import LocalEngine
from app.run.workspace import Seed
from app.settings import Settings
from app.toolchain import Toolchain, preferred

pytestmark = pytest.mark.anyio


@pytest.fixture
def toolchain(toolchains: tuple[Toolchain, ...]) -> Toolchain:
    """A toolchain without foreign targets, which is fast to learn."""
    chosen = preferred(toolchains, None)
    assert chosen
    return replace(chosen, targets={chosen.host: "shipped"})


async def seed(settings: Settings, toolchain: Toolchain) -> tuple[Seed, int]:
    """Return a new engine's seed of the toolchain, and how often it asked cargo for it."""
    async with LocalEngine(settings, ()) as engine:
        asked = 0
        builds = engine._seeds._builds
        cargo = builds.cargo

        async def counted(*arguments: Any) -> int | None:
            nonlocal asked
            asked += 1
            return await cargo(*arguments)

        builds.cargo = counted  # type: ignore[method-assign, assignment]  # the same method, counted
        return await engine._seeds.of(toolchain), asked


def cached(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with an empty cache that holds only the launcher."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("launcher", "sysroots"):
        if (settings.cache_dir / name).exists():
            (cache / name).symlink_to(settings.cache_dir / name)
    return settings.model_copy(update={"cache_dir": cache})


async def test_the_next_start_asks_no_cargo(settings: Settings, toolchain: Toolchain, tmp_path: Path) -> None:
    own = cached(settings, tmp_path)
    first, asked = await seed(own, toolchain)
    assert asked == 1
    assert await seed(own, toolchain) == (first, 0)
    assert "rustc_fingerprint" in json.loads(next(iter(first.crate.values())))


async def test_a_compiler_that_has_changed_is_asked_anew_and_its_old_seed_goes(
    settings: Settings, toolchain: Toolchain, tmp_path: Path
) -> None:
    own = cached(settings, tmp_path)
    await seed(own, toolchain)
    [old] = (own.cache_dir / "seeds").iterdir()
    _, asked = await seed(own, replace(toolchain, commit="another"))
    assert asked == 1
    [new] = (own.cache_dir / "seeds").iterdir()
    assert new != old


@pytest.mark.parametrize(
    "spoil",
    [
        lambda kept: kept.write_text("{"),
        lambda kept: kept.write_text("[]"),
        lambda kept: kept.write_text('{"blog_os/target/.rustc_info.json": 1}'),
        lambda kept: kept.write_bytes(os.urandom(99)),
        lambda kept: (kept.unlink(), kept.mkdir()),
    ],
    ids=["cut off", "a list", "a number", "noise", "a folder"],
)
async def test_a_kept_seed_that_cannot_be_read_is_learned_anew(
    settings: Settings, toolchain: Toolchain, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    own = cached(settings, tmp_path)
    first, _ = await seed(own, toolchain)
    [kept] = (own.cache_dir / "seeds").iterdir()
    spoil(kept)
    again, asked = await seed(own, toolchain)
    assert asked == 1
    assert (again.crate.keys(), again.home.keys()) == (first.crate.keys(), first.home.keys())
