"""Containers for tools/container-test: of the image, or of this machine's root below the Dockerfile's last stage.

Podman's defaults are weaker than Docker's, so each container gets Docker's own default seccomp profile, from Debian's
package, and exactly Docker's default capabilities. CONTAINER_RUN and CONTAINER_BUILD hold further options for podman,
CONTAINER_NETWORK the network. CONTAINER_ENGINE=docker tests an image of Docker's, with Docker's own defaults.
"""

import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from app.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BASE, IMAGE, TEST_IMAGE = "docker.io/library/debian:bookworm-slim", "localhost/playground", "localhost/playground-test"
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
).split()
PROFILE_PACKAGE = "golang-github-docker-docker-dev"
PROFILE = "usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json"
RUN = shlex.split(os.environ.get("CONTAINER_RUN", "--ulimit nofile=20000:20000 --ulimit nproc=20000:20000"))
ENGINE = shlex.split(os.environ.get("CONTAINER_ENGINE", "podman --runtime runc"))
IS_DOCKER = ENGINE[0] == "docker"
# Podman by itself would add more writable places.
READ_ONLY = ["--read-only", *([] if IS_DOCKER else ["--read-only-tmpfs=false"])]
# If Podman cannot create a bridge, containers share the host's network, each with a different port.
NETWORK = os.environ.get("CONTAINER_NETWORK", "bridge" if IS_DOCKER else "host")
BUILD = shlex.split(os.environ.get("CONTAINER_BUILD", "--network host --isolation chroot"))
CERTIFICATES, PIP = Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pip.conf")
_PROGRAM = Path("opt/playground")
_PACKAGES = _PROGRAM / f".venv/lib/python{sysconfig.get_python_version()}/site-packages"
_numbers = itertools.count(1)


def run(*command: str | Path, input_: str | None = None) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run([*map(str, command)], input=input_, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def engine(*arguments: str | Path) -> str:
    """Run a podman or Docker command and return its output."""
    return run(*ENGINE, *arguments)


# --- images ----------------------------------------------------------------------------------------------------------


def need_base() -> str:
    """Get the Dockerfile's base image from the registry, or build it with debootstrap; return which."""
    if subprocess.run(["podman", "image", "exists", BASE], check=False).returncode == 0:
        return "was there"
    if subprocess.run(["podman", "pull", "-q", BASE], check=False, capture_output=True, timeout=300).returncode == 0:
        return "pulled"
    with tempfile.TemporaryDirectory() as folder:
        site = run("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split()[0]
        mirror = re.sub(r"/debian[^/]*/*$", "", site)
        run("debootstrap", "--variant=minbase", "bookworm", folder, f"{mirror}/debian")
        archives = ("debian bookworm", "debian bookworm-updates", "debian-security bookworm-security")
        lines = "".join(f"deb {mirror}/{archive} main\n" for archive in archives)
        Path(folder, "etc/apt/sources.list").write_text(lines)
        # The slim image omits these as well.
        for left in ("lib/apt/lists", "cache"):
            run("find", f"{folder}/var/{left}", "-mindepth", "1", "-delete")
        for left in ("locale", "man", "info", "lintian"):
            run("find", f"{folder}/usr/share/{left}", "-mindepth", "1", "-delete")
        run("find", f"{folder}/usr/share/doc", "-type", "f", "-not", "-name", "copyright", "-delete")
        run("sh", "-c", f"tar -C {folder} -c . | podman import -q - {BASE}")
    return "made with debootstrap: no registry answers"


def build(tag: str, context: Path, **arguments: str) -> int:
    """Build the context's Dockerfile with these build arguments and return the image's size in bytes."""
    secrets = {"ca-certificates": CERTIFICATES, "pip.conf": PIP}
    given = [f"--secret=id={name},src={path}" for name, path in secrets.items() if path.exists()]
    given += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    engine("build", "--layers", "--format", "docker", *BUILD, *given, "-t", tag, context)
    return int(engine("image", "inspect", "--format", "{{.Size}}", tag))


def build_test_image() -> None:
    """Build the image with the tests and their dependencies."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("pyproject.toml", "uv.lock", "deploy", "tests", "docs"):
            source, target = ROOT / name, Path(folder, name)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        Path(folder, "Dockerfile").write_text(f"""
FROM {BASE} AS dev
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends ca-certificates python3-venv
WORKDIR /opt/playground
COPY pyproject.toml uv.lock ./
COPY deploy/install-python /tmp/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    --mount=type=secret,id=ca-certificates,target=/run/ca-certificates.crt \\
    if [ -s /run/ca-certificates.crt ]; then export PIP_CERT=/run/ca-certificates.crt; fi; \\
    python3 /tmp/install-python dev
FROM {IMAGE}
COPY --from=dev /opt/playground/.venv /opt/playground/.venv
COPY pyproject.toml /opt/playground/
COPY docs /opt/playground/docs
COPY tests /opt/playground/tests
""")
        build(TEST_IMAGE, Path(folder))


# --- this machine's own root -----------------------------------------------------------------------------------------


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile's last stage, each with its arguments."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text[text.rindex("\nFROM ") + 1 :], flags=re.MULTILINE)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line)]


class Layer:
    """A layer over this machine's root file system with the additions of the Dockerfile's last stage."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self._folder = folder
        self._layer = folder / "layer"
        said = dict(last_stage())
        cache = Settings().cache_dir
        site = sysconfig.get_path("purelib")
        # Use the packages of this environment, which contains the program at a different place.
        variables = [*shlex.split(said["ENV"]), f"PLAYGROUND_CACHE_DIR={cache}", f"PYTHONPATH=/{_PROGRAM}"]
        self._options = [f"--volume={cache}:{cache}:ro", f"--volume={site}:/{_PACKAGES}:ro"]
        self._options += [f"--env={variable}" for variable in variables]
        self._entry, self._command = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
        self._furnish()

    @contextmanager
    def words(self, command: list[str], entry: str | None = None) -> Iterator[list[str]]:
        """Return the last arguments of ``podman run`` for a new container."""
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            # Copy it, because a layer below another one cannot be stacked again.
            top = Path(folder, "top")
            run("cp", "-a", self._layer, top)
            with self._over_this_machine(top) as root:
                begin = [entry] if entry else self._entry
                yield [*self._options, "--rootfs", str(root), *begin, *(command or self._command)]

    @contextmanager
    def _over_this_machine(self, layer: Path) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            work, root = Path(folder, "work"), Path(folder, "root")
            work.mkdir()
            root.mkdir()
            run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={layer},workdir={work}", root)
            try:
                yield root
            finally:
                run("umount", root)

    def _furnish(self) -> None:
        self._layer.mkdir()
        with self._over_this_machine(self._layer) as root:
            self._hide_this_machine(root)
            for name, rest in last_stage():
                if name == "RUN":
                    run("chroot", root, "sh", "-ec", rest)
                elif name == "COPY" and not rest.startswith("--from"):
                    *sources, target = shlex.split(rest)
                    run("cp", "-rT" if (ROOT / sources[0]).is_dir() else "-t", *_copied(sources, root / target[1:]))
            self._install(root)
        for name, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("run", 0o755)):
            # Hide this machine's contents.
            (self._layer / name).mkdir(parents=True)
            (self._layer / name).chmod(mode)
            os.setxattr(self._layer / name, "trusted.overlay.opaque", b"y")

    @staticmethod
    def _hide_this_machine(root: Path) -> None:
        # The users of a fresh Debian.
        for name in ("passwd", "group"):
            shutil.copy(f"/usr/share/base-passwd/{name}.master", root / "etc" / name)
            (root / "etc" / f"{name}-").unlink(missing_ok=True)
        shutil.rmtree(root / "opt/playground", ignore_errors=True)

    @staticmethod
    def _install(root: Path) -> None:
        """Do what deploy/install-python does, without the packages."""
        python = Path(sys.executable).resolve()
        for parent in python.parents[:-1]:
            there = root / parent.relative_to("/")
            there.chmod(there.stat().st_mode | 0o011)
        environment = root / _PROGRAM / ".venv"
        (root / _PACKAGES).mkdir(parents=True)
        (environment / "bin").mkdir()
        (environment / "bin/python").symlink_to(python)
        (environment / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
        script = environment / "bin/playground"
        text = runpy.run_path(str(ROOT / "deploy/install-python"))["SCRIPT"]
        script.write_text(text.format(python=f"/{_PROGRAM}/.venv/bin/python"))
        script.chmod(0o755)
        for name in ("app", "tests", "docs", "deploy"):
            shutil.copytree(ROOT / name, root / _PROGRAM / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "uv.lock"):
            shutil.copy(ROOT / name, root / _PROGRAM / name)
        # As the Dockerfile does; the server's user could not, so each process would compile the program for itself.
        run("chroot", root, f"/{_PROGRAM}/.venv/bin/python", "-m", "compileall", "-q", f"/{_PROGRAM}/app")


def _copied(sources: list[str], target: Path) -> list[Path]:
    (target if len(sources) > 1 else target.parent).mkdir(parents=True, exist_ok=True)
    paths = [ROOT / source for source in sources]
    return [target, *paths] if len(sources) > 1 else [*paths, target]


_layer: Layer | None = None


@contextmanager
def of_this_machine() -> Iterator[None]:
    """Make containers from this machine's root file system during the block."""
    global _layer  # noqa: PLW0603 - one machine, one such layer at a time
    with tempfile.TemporaryDirectory(prefix="container-test-") as folder:
        _layer = Layer(Path(folder))
        try:
            yield
        finally:
            _layer = None


def is_here() -> bool:
    """Return True if containers are made from this machine's root file system."""
    return _layer is not None


@contextmanager
def made_of(*command: str, image: str = IMAGE, entry: str | None = None) -> Iterator[list[str]]:
    """Return the last arguments of ``podman run``: the image or root, and the command."""
    if _layer:
        with _layer.words([*command], entry) as words:
            yield words
    else:
        yield [*([f"--entrypoint={entry}"] if entry else []), image, *command]


# --- containers ------------------------------------------------------------------------------------------------------


def docker_profile() -> Path:
    """Return Docker's default seccomp profile from Debian's package; check that the shipped one derives from it."""
    place = Path(tempfile.gettempdir(), "container-test-docker-default.json")
    if not place.exists():
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)  # noqa: S103 - apt writes there as a user of its own
            subprocess.run(["apt-get", "download", "-qq", PROFILE_PACKAGE], cwd=folder, check=True, capture_output=True)
            [package] = Path(folder).glob("*.deb")
            run("dpkg", "--extract", package, folder)
            # Write it atomically, because others may read it at the same time.
            os.replace(shutil.copy(Path(folder, PROFILE), f"{place}.{os.getpid()}"), place)
    return place


def as_docker() -> list[str]:
    """Return Docker's defaults as options for podman."""
    if IS_DOCKER:
        return []
    added = [f"--cap-add={name}" for name in CAPABILITIES]
    return ["--cap-drop=all", *added, f"--security-opt=seccomp={docker_profile()}"]


def as_user() -> list[str]:
    """Return the options for ``--user 1000`` with Docker's defaults, where a process has no capabilities."""
    return ["--user=1000"] if IS_DOCKER else ["--cap-drop=all", as_docker()[-1], "--user=1000"]


def with_namespaces() -> list[str]:
    """Return the options that docs/container.md recommends for the level ``namespaces``."""
    return [
        *as_docker()[:-1],
        f"--security-opt=seccomp={ROOT}/deploy/seccomp.json",
        "--security-opt=systempaths=unconfined",
    ]


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Container:
    """A started playground with its URL and the seconds it took to become ready."""

    def __init__(self, options: list[str], variables: dict[str, str], words: list[str]) -> None:
        self.port = free_port()
        published = [] if NETWORK == "host" else [f"--publish=127.0.0.1:{self.port}:{self.port}"]
        self.url = f"http://127.0.0.1:{self.port}"
        # Behind a bridge the test is not a local client, which the rates would exempt.
        variables = {"PLAYGROUND_PORT": str(self.port), "PLAYGROUND_SEAT_RUNS": "1000/minute", **variables}
        given = [*published, *(f"--env={name}={value}" for name, value in variables.items())]
        began = time.monotonic()
        self.id = engine("run", "-d", *RUN, f"--network={NETWORK}", *options, *given, *words).strip()
        self.seconds = self._wait(began)

    def _wait(self, began: float) -> float:
        while time.monotonic() - began < 60 and self.running:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        return float("inf")

    @property
    def running(self) -> bool:
        return engine("inspect", "--format", "{{.State.Running}}", self.id).strip() == "true"

    def logs(self) -> list[dict[str, str]]:
        """Return the log, one JSON object for each line."""
        return [json.loads(line) for line in engine("logs", self.id).splitlines()]

    def within(self, *command: str) -> str:
        """Run a command inside as the server's user and return its output."""
        return engine("exec", self.id, "as-server", *command)

    def serving(self) -> list[str]:
        """Return the user ids of the server's processes."""
        look = (
            'for one in /proc/[0-9]*; do echo $(grep Uid: $one/status) $(tr "\\0" " " <$one/cmdline); done 2>/dev/null'
        )
        lines = engine("exec", self.id, "sh", "-c", look).splitlines()
        return [line.split()[1] for line in lines if "playground serve" in line and "tini" not in line]

    def healthy(self) -> bool:
        """Return True if the image's health check, or its program without an image, succeeds."""
        if IS_DOCKER:
            state = "starting"
            while state == "starting":
                time.sleep(1)
                state = engine("inspect", "--format", "{{.State.Health.Status}}", self.id).strip()
            return state == "healthy"
        asked = ["exec", self.id, "healthcheck"] if is_here() else ["healthcheck", "run", self.id]
        return subprocess.run([*ENGINE, *asked], check=False, capture_output=True).returncode == 0

    def stop(self) -> float:
        """Send SIGTERM and return the seconds until the end."""
        began = time.monotonic()
        engine("stop", "-t", "20", self.id)
        return time.monotonic() - began


@contextmanager
def container(*options: str, command: Sequence[str] = (), **variables: str) -> Iterator[Container]:
    """Run a container, by default with the image's own command, and remove it at the end."""
    with ExitStack() as stack:
        words = stack.enter_context(made_of(*command))
        one = Container([*options], variables, words)
        stack.callback(engine, "rm", "-f", "-v", one.id)
        yield one


def once(
    *command: str,
    options: list[str],
    image: str = IMAGE,
    entry: str | None = None,
    network: str = NETWORK,
    input_: bytes | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a new container; it may fail."""
    with made_of(*command, image=image, entry=entry) as words:
        begin = [*ENGINE, "run", "--rm", "-i", *RUN, f"--network={network}"]
        return subprocess.run([*begin, *options, *words], input=input_, capture_output=True, check=False)


@contextmanager
def volume() -> Iterator[str]:
    """Create a volume like that of an image's VOLUME."""
    name = f"container-test-{os.getpid()}-{next(_numbers)}"
    engine("volume", "create", name)
    try:
        if is_here():
            place(name).chmod(0o1777)
        yield name
    finally:
        engine("volume", "rm", "-f", name)


def place(name: str) -> Path:
    """Return the folder of a volume."""
    return Path(engine("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())
