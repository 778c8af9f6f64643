"""The answer to ``help``: every command that runs here, with one line each."""

LINES = (
    ("cargo build", "compile the crate; also cargo check, and --release or --target TRIPLE"),
    ("cargo run", "compile the program and start it; the page watches what it does"),
    ("cargo rustc -- FLAGS", "compile with flags for the compiler or the linker"),
    ("cargo test", "compile and run the tests"),
    ("cargo clippy", "show Clippy's lints"),
    ("cargo fmt", "format the code; you decide whether to accept the result"),
    ("cargo tree", "show the crate and its dependencies"),
    ("cargo clean", "delete the build; every run begins in a fresh folder anyway"),
    ("cargo new NAME", "show the files of a new crate; yours stay unchanged"),
    ("cargo --version", "show cargo's version; also cargo --list, cargo build --help"),
    ("rustc --version --verbose", "show the compiler's version and the host triple"),
    ("rustc --print target-list", "list the targets that the compiler knows"),
    ("rustc --explain E0463", "explain an error"),
    ("rustup target list", "list targets; --installed shows those that are ready"),
    ("rustup target add TRIPLE", "check if a target is ready"),
    ("target/debug/{crate}", "start the program that was built"),
    ("readelf -h FILE", "show an ELF file's headers; -d the libraries that it needs"),
    ("objdump -d FILE", "show instructions"),
    ("nm FILE", "list symbols"),
    ("size -A FILE", "show the size of each section"),
    ("file FILE", "show the kind of a file"),
    ("strings FILE", "show the text in a file"),
    ("xxd FILE", "show bytes; also hexdump -C FILE"),
    ("qemu-system-arm …", "boot a kernel on an emulated board; -kernel FILE"),
    ("qemu-system-x86_64 …", "boot a kernel on an emulated PC"),
    ("ls, cat FILE, pwd", "list the crate's files, show one, and show the folder"),
)
_WIDTH = max(len(command) for command, _ in LINES) + 3


def overview(crate: str) -> str:
    """Return the text that ``help`` prints."""
    lines = [f"{command.format(crate=crate):{_WIDTH}}{what}\n" for command, what in LINES]
    return "".join(["One command at a time; there is no shell. What runs here:\n\n", *lines])
