"""Every option of rustc, accepted or refused with its reason: alone, and after ``cargo rustc --``."""

from collections.abc import Mapping

from app.protocol.command.cargo_table import NO_NIGHTLY_FLAGS, TARGET
from app.protocol.command.options import Option, Options, flags, refused, valued

_LINT = r"[a-z0-9_:-]+"
_VALUE = r".*"
_CARGO_SAYS = "cargo tells the compiler that by itself; leave `{}` out."
CARGO_BUILDS = "Here cargo calls the compiler for you: `cargo build`, or with flags `cargo rustc --`."

_LINTS: tuple[Option, ...] = tuple(
    valued(names, _LINT, "warnings")
    for names in ("-A --allow", "-W --warn", "--force-warn", "-D --deny", "-F --forbid")
)

BEHIND = Options(
    "cargo rustc --",
    (
        *flags("-g", "-O", "-v --verbose"),
        *_LINTS,
        valued("-C --codegen", _VALUE, "link-arg=-nostartfiles"),
        valued("--cap-lints", r"allow|warn|deny|forbid", "warn"),
        valued("--cfg", r'[A-Za-z_][A-Za-z0-9_]*(="[^"]*")?', "NAME"),
        valued("--check-cfg", r"cfg\(.*\)", "cfg(NAME)"),
        valued("--diagnostic-width", r"[0-9]{1,4}", "80"),
        valued("--emit", r"[a-z-]+(,[a-z-]+)*", "asm"),
        valued("--print", r"[a-z-]+", "link-args"),
        valued("--remap-path-prefix", r"[^=\n]+=[^=\n]*", "src=source"),
        valued("--remap-path-scope", r"[a-z,]+", "all"),
        valued("-l", r"[A-Za-z0-9_=:+,.-]+", "static=NAME"),
        valued("-L", r"([a-z]+=)?(?!/)(?!.*\.\.)[A-Za-z0-9_./-]+", "native=src"),
        refused("--crate-name", _CARGO_SAYS.format("--crate-name"), value=True),
        refused("--crate-type", "The kind of crate goes before the `--`, where cargo reads it.", value=True),
        refused("--edition", 'The edition belongs in `Cargo.toml`: `edition = "2021"` below `[package]`.', value=True),
        refused("--target", "The target goes before the `--`, where cargo reads it.", value=True),
        refused("-o", "cargo names the program, and the page looks for it there; leave `-o` out.", value=True),
        refused("--out-dir", "cargo chooses the folder, and the page looks there; leave `--out-dir` out.", value=True),
        refused("--extern", "cargo passes the dependencies of `Cargo.toml`; leave `--extern` out.", value=True),
        refused("--sysroot", "The libraries of the chosen compiler are used; leave `--sysroot` out.", value=True),
        refused("--test", "`cargo test` builds the test program; leave `--test` out."),
        refused("--error-format", _CARGO_SAYS.format("--error-format"), value=True),
        refused("--json", _CARGO_SAYS.format("--json"), value=True),
        refused("--color", _CARGO_SAYS.format("--color"), value=True),
        refused("--explain", "The compiler explains an error without building: `rustc --explain E0463`.", value=True),
        refused("-V --version", "The compiler tells its version without building: `rustc --version --verbose`."),
        refused("-h --help", "The compiler lists its options without building: `rustc --help`."),
        refused("-Z", NO_NIGHTLY_FLAGS, value=True),
    ),
)
"""The options after ``cargo rustc --``."""

ALONE = Options(
    "rustc",
    (
        *flags("-V --version", "-v --verbose", "-h --help"),
        valued("--print", r"[a-z-]+", "target-list"),
        TARGET,
        valued("--explain", r"E?[0-9]{1,4}", "E0463", "the compiler explains codes such as `E0463`"),
        valued("-C --codegen", r"help|target-cpu=[A-Za-z0-9_.-]+|target-feature=[A-Za-z0-9_.,+-]+", "help"),
        valued("-W --warn", r"help", "help"),
        refused("-Z", NO_NIGHTLY_FLAGS, value=True),
        *(
            refused(names, CARGO_BUILDS, value=value)
            for names, value in (
                ("-A --allow", True),
                ("--force-warn", True),
                ("-D --deny", True),
                ("-F --forbid", True),
                ("--cap-lints", True),
                ("--cfg", True),
                ("--check-cfg", True),
                ("--crate-name", True),
                ("--crate-type", True),
                ("--diagnostic-width", True),
                ("--edition", True),
                ("--emit", True),
                ("--error-format", True),
                ("--extern", True),
                ("--json", True),
                ("--color", True),
                ("--out-dir", True),
                ("--remap-path-prefix", True),
                ("--remap-path-scope", True),
                ("--sysroot", True),
                ("--test", False),
                ("-L", True),
                ("-O", False),
                ("-g", False),
                ("-l", True),
                ("-o", True),
            )
        ),
    ),
)
"""The options of rustc without cargo."""

LINKERS = "rust-lld lld ld ld.lld ld64.lld lld-link link.exe cc gcc clang wasm-ld".split()

CODEGEN: Mapping[str, Option] = {
    option.names[0]: option
    for option in (
        *(
            valued(name, _VALUE, example)
            for name, example in (
                ("code-model", "kernel"),
                ("codegen-units", "1"),
                ("collapse-macro-debuginfo", "yes"),
                ("control-flow-guard", "no"),
                ("debug-assertions", "no"),
                ("debuginfo", "0"),
                ("default-linker-libraries", "no"),
                ("dwarf-version", "4"),
                ("embed-bitcode", "yes"),
                ("force-frame-pointers", "yes"),
                ("force-unwind-tables", "no"),
                ("inline-threshold", "100"),
                ("instrument-coverage", "no"),
                ("jump-tables", "no"),
                ("link-arg", "-nostartfiles"),
                ("link-args", "-nostartfiles"),
                ("link-dead-code", "no"),
                ("link-self-contained", "no"),
                ("linker-features", "-lld"),
                ("linker-flavor", "ld.lld"),
                ("linker-plugin-lto", "no"),
                ("llvm-args", "-help"),
                ("lto", "fat"),
                ("no-prepopulate-passes", "no"),
                ("no-redzone", "yes"),
                ("no-stack-check", "no"),
                ("no-vectorize-loops", "no"),
                ("no-vectorize-slp", "no"),
                ("opt-level", "3"),
                ("overflow-checks", "no"),
                ("panic", "abort"),
                ("passes", "list"),
                ("prefer-dynamic", "no"),
                ("relocation-model", "static"),
                ("relro-level", "off"),
                ("remark", "all"),
                ("rpath", "no"),
                ("save-temps", "no"),
                ("soft-float", "no"),
                ("split-debuginfo", "off"),
                ("strip", "symbols"),
                ("symbol-mangling-version", "v0"),
                ("target-cpu", "native"),
                ("target-feature", "+sse2"),
                ("unsafe-allow-abi-mismatch", "all"),
            )
        ),
        valued("linker", "|".join(LINKERS).replace(".", r"\."), "rust-lld"),
        refused("ar", "Compilers ignore `ar` since long; leave it out.", value=True),
        refused("dlltool", "Nothing here makes import libraries of Windows; leave `dlltool` out.", value=True),
        refused("extra-filename", "cargo names the files; leave `extra-filename` out.", value=True),
        refused("metadata", "cargo passes it; leave `metadata` out.", value=True),
        refused("incremental", "Every run begins in a fresh folder, so nothing is left to build on.", value=True),
        refused("profile-generate", "No profile of a program can be kept from one run to the next.", value=True),
        refused("profile-use", "No profile of a program can be kept from one run to the next.", value=True),
        refused("help", "The compiler lists them without building: `rustc -C help`."),
    )
}
"""The options of ``-C`` after ``cargo rustc --``, by their names."""

REQUIRED = frozenset(
    "code-model dwarf-version inline-threshold link-arg link-args linker linker-features linker-flavor llvm-args "
    "opt-level panic passes relocation-model relro-level remark symbol-mangling-version target-cpu target-feature "
    "unsafe-allow-abi-mismatch codegen-units".split()
)
"""Options of ``-C`` that say nothing without a value."""
