"""Every option of the cargo subcommands that run here, accepted or refused with its reason."""

from collections.abc import Mapping

from app.protocol.command.options import Option, Options, flags, refused, valued

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
TRIPLE = r"[a-z0-9_][a-z0-9_.]*(-[a-z0-9_.]+){1,4}"
_FEATURES = r"[A-Za-z0-9_,/ -]*"
_WHEN = r"auto|always|never"

NO_NIGHTLY_FLAGS = (
    "`-Z` switches on what only nightly compilers have. It is not needed: `core` is ready here for every target of the "
    "lessons."
)
_MANIFEST = "Every command runs on this crate's `Cargo.toml`; leave `--manifest-path` out."
_CONFIG = "Settings belong in `.cargo/config.toml`, so that every command finds them; leave `--config` out."
_UNSTABLE = "That is for nightly compilers with `-Z unstable-options` only; leave it out."

TARGET = valued(
    "--target", TRIPLE, "x86_64-unknown-none", "a target is named by its triple, such as `x86_64-unknown-none`"
)

_GENERAL: tuple[Option, ...] = (
    *flags("-v --verbose", "-vv", "-q --quiet", "--offline", "--locked", "--frozen", "-h --help"),
    valued("--color", _WHEN, "always"),
    refused("--config", _CONFIG, value=True),
    refused("-Z", NO_NIGHTLY_FLAGS, value=True),
)
_FEATURE: tuple[Option, ...] = (
    valued("-F --features", _FEATURES, "std"),
    *flags("--all-features", "--no-default-features"),
)
_PACKAGE: tuple[Option, ...] = (
    valued("-p --package", NAME, "NAME"),
    refused("--manifest-path -m", _MANIFEST, value=True),
)
_COMPILING: tuple[Option, ...] = (
    *flags("-r --release", "--ignore-rust-version", "--keep-going"),
    *_FEATURE,
    *_PACKAGE,
    valued("--bin", NAME, "NAME"),
    valued("--example", NAME, "NAME"),
    valued("--profile", r"[A-Za-z0-9_-]+", "release"),
    TARGET,
    valued("-j --jobs", r"[0-9]{1,3}", "2"),
    refused("--target-dir", "The page looks for the program in `target`; leave `--target-dir` out.", value=True),
    refused("--message-format", "The page reads cargo's messages by itself; leave `--message-format` out.", value=True),
    refused("--unit-graph", _UNSTABLE),
    refused("--build-plan", _UNSTABLE),
    refused("--timings", "The report of `--timings` is a file that cannot be opened here; leave it out."),
    refused("--lockfile-path", _UNSTABLE, value=True),
)
_SELECTING: tuple[Option, ...] = (
    *flags("--lib", "--bins", "--examples", "--tests", "--benches", "--all-targets", "--future-incompat-report"),
    valued("--test", NAME, "NAME"),
    valued("--bench", NAME, "NAME"),
)
_WORKSPACE: tuple[Option, ...] = (*flags("--workspace", "--all"), valued("--exclude", NAME, "NAME"))
_BUILD: tuple[Option, ...] = (
    *_GENERAL,
    *_COMPILING,
    *_SELECTING,
    *_WORKSPACE,
    refused("--artifact-dir --out-dir", _UNSTABLE, value=True),
    refused("--compile-time-deps", _UNSTABLE),
)


def _table(name: str, *options: Option) -> Options:
    return Options(f"cargo {name}", options)


GLOBAL = Options(
    "cargo",
    (
        *_GENERAL,
        *flags("-V --version", "--list"),
        valued("--explain", r"E?[0-9]{1,4}", "E0463"),
        refused("-C", "Every command already runs in the crate's folder; leave `-C` out.", value=True),
    ),
)
"""The options before the subcommand."""

CARGO: Mapping[str, Options] = {
    "build": _table("build", *_BUILD),
    "check": _table("check", *_BUILD),
    "run": _table("run", *_GENERAL, *_COMPILING),
    "rustc": _table(
        "rustc",
        *_GENERAL,
        *_COMPILING,
        *_SELECTING,
        valued(
            "--crate-type", r"(bin|lib|rlib|dylib|cdylib|staticlib)(,(bin|lib|rlib|dylib|cdylib|staticlib))*", "bin"
        ),
        refused("--print", "Before `--` that is for nightly compilers only; after `--` it is stable.", value=True),
    ),
    "test": _table("test", *_BUILD, *flags("--no-run", "--no-fail-fast", "--doc")),
    "clippy": _table(
        "clippy",
        *_BUILD,
        *flags("--no-deps", "-V --version"),
        valued("--explain", r"[a-z_:]+", "empty_loop"),
        refused("--fix", "Nothing may change your files behind your back; the page offers what the compiler proposes."),
    ),
    "clean": _table(
        "clean",
        *_GENERAL,
        *_PACKAGE,
        *flags("-r --release", "-n --dry-run", "--doc", "--workspace"),
        valued("--profile", r"[A-Za-z0-9_-]+", "release"),
        TARGET,
        refused("--target-dir", "Everything is built in `target`; leave `--target-dir` out.", value=True),
    ),
    "new": _table(
        "new",
        *_GENERAL,
        *flags("--bin", "--lib"),
        valued("--edition", r"[0-9]{4}", "2021"),
        valued("--name", NAME, "NAME"),
        valued("--vcs", r"none|git", "none"),
        refused("--registry", "Crates cannot be published from here; leave `--registry` out.", value=True),
    ),
    "fmt": _table(
        "fmt",
        *flags("--check", "--all", "-v --verbose", "-q --quiet", "-h --help", "--version"),
        valued("-p --package", NAME, "NAME"),
        refused("--message-format", "The page reads the answer by itself; leave `--message-format` out.", value=True),
        refused("--manifest-path", _MANIFEST, value=True),
    ),
    "tree": _table(
        "tree",
        *_GENERAL,
        *_FEATURE,
        *_PACKAGE,
        *flags("--workspace", "--no-dedupe", "-d --duplicates"),
        valued("--exclude", NAME, "NAME"),
        valued("-i --invert", NAME, "NAME"),
        valued("--prune", NAME, "NAME"),
        valued("-e --edges", r"[a-z,-]+", "normal"),
        valued("-f --format", r"[^\n]{0,40}", "{p}"),
        valued("--prefix", r"depth|indent|none", "none"),
        valued("--depth", r"[0-9]{1,3}|workspace", "1"),
        valued("--charset", r"utf8|ascii", "ascii"),
        valued("--target", rf"{TRIPLE}|all", "all"),
    ),
}
"""The subcommands that run here."""

ALIASES: Mapping[str, str] = {"b": "build", "c": "check", "r": "run", "t": "test"}
TAKES_REST = ("run", "test", "rustc", "clippy", "fmt")
"""The subcommands with something after ``--``."""

FMT_REST = Options(
    "cargo fmt --",
    (*flags("--check", "-v --verbose", "-q --quiet"), valued("--edition", r"[0-9]{4}", "2021")),
)
