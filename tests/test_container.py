"""The container's files match the program, and containers of this machine's own root file system work."""

import ast
import configparser
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from app.cli.common import BAD_USE
from app.engine.nats.worker import DRAIN_SECONDS
from app.sandbox.users import NEEDED
from app.settings import Settings
from tests.support.environment import EVERYTHING

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())


class _Repeated(dict[str, Any]):
    """Joins the values of a key that a section repeats, as systemd does."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and key in self:
            value = [*self[key], *value]
        super().__setitem__(key, value)


def joined(text: str) -> str:
    """Return the text with continued lines joined."""
    return re.sub(r"\s*\\\n\s*", " ", text)


def known(names: list[str]) -> bool:
    return {name.removeprefix("PLAYGROUND_").lower() for name in names} <= set(Settings.model_fields)


def test_the_image_sets_only_settings_that_there_are() -> None:
    names = re.findall(r"\b(PLAYGROUND_[A-Z_]+)=", DOCKERFILE)
    assert len(names) >= 4
    assert known(names)


def test_the_workshop_sets_only_settings_that_there_are_to_values_that_they_take(monkeypatch: Any) -> None:
    given = COMPOSE["services"]["playground"]["environment"]
    assert known(list(given))
    for name, value in given.items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)))
    settings = Settings()
    assert settings.allowed_hosts == ("localhost",)
    [subnet] = settings.trusted_proxies
    assert subnet in re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(COMPOSE["networks"]))


def test_the_cluster_reads_its_own_files_and_is_stopped_after_its_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    services = COMPOSE["services"]
    broker, worker, web = services["broker"], services["worker"], services["playground"]
    assert broker["profiles"] == worker["profiles"] == ["cluster"], "without the profile there are none"
    assert worker["deploy"]["replicas"] == 2
    source, target, _ = broker["volumes"][0].split(":")
    assert (ROOT / source).is_file()
    assert target in broker["command"]
    assert set(web["networks"]) & set(broker["networks"]) == set(worker["networks"]) == {"jobs"}
    assert "jobs" not in services["proxy"]["networks"]
    assert COMPOSE["networks"]["jobs"]["internal"] is True
    assert known(list(worker["environment"]))
    for name, value in worker["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)))
    assert Settings().engine == "nats://broker:4222"
    assert int(worker["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS


def service_of(name: str) -> configparser.SectionProxy:
    """Return the section about the service of a unit."""
    unit = configparser.RawConfigParser(strict=False, dict_type=_Repeated)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # keys of systemd are not in lower case
    unit.read(ROOT / "deploy" / name)
    return unit["Service"]


def variables_of(service: configparser.SectionProxy) -> dict[str, str]:
    """Return the variables that a unit sets."""
    return dict(line.split("=", 1) for line in service["Environment"].split("\n"))


def test_the_worker_is_a_service_with_settings_that_there_are() -> None:
    service = service_of("playground-worker.service")
    assert service["ExecStart"].endswith("/playground worker")
    given = variables_of(service)
    assert known(list(given))
    assert "PLAYGROUND_SCRATCH_DIR" not in given, "Debian mounts /run noexec, so runs belong below /tmp"
    assert int(service["TimeoutStopSec"]) > DRAIN_SECONDS
    web = service_of("playground.service")
    # Both are installed by the same steps, which fill one cache folder.
    assert given["PLAYGROUND_CACHE_DIR"] == variables_of(web)["PLAYGROUND_CACHE_DIR"] == f"%C/{web['CacheDirectory']}"
    assert service["CacheDirectory"] == web["CacheDirectory"]
    assert service["EnvironmentFile"] in (ROOT / "docs/cluster.md").read_text(), "without the file, it does not start"
    # It executes the same runs as the server, so it is confined in the same way.
    alike = [
        name for name in web if re.match("Protect|Private|Restrict[A-Z]|Lock|System|NoNew|Cap|Amb|Del|OOM|Tas", name)
    ]
    assert len(alike) > 15
    assert {name: service[name] for name in alike} == {name: web[name] for name in alike}
    if analyze := shutil.which("systemd-analyze"):
        done = subprocess.run(
            [analyze, "verify", ROOT / "deploy/playground-worker.service"], capture_output=True, text=True, check=False
        )
        assert "Unknown" not in done.stderr, done.stderr


def test_what_is_copied_into_the_image_is_there_and_may_be_sent() -> None:
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"}
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists(), name
            assert name.split("/")[0] in sent, name


def test_the_server_keeps_the_capabilities_that_slots_take_and_no_others() -> None:
    text = (ROOT / "deploy/as-server").read_text()
    assert re.search(r"^keep=-all,(.+)$", text, re.MULTILINE)[1].replace("+", "").split(",") == list(NEEDED)  # type: ignore[index]  # None would fail the test, too


@pytest.mark.parametrize("path", sorted((ROOT / "deploy").glob("*")), ids=lambda path: path.name)
def test_scripts_of_the_image_are_programs(path: Path) -> None:
    text = path.read_text()
    if not text.startswith("#!"):
        return
    assert os.access(path, os.X_OK)
    if "python" in text.splitlines()[0]:
        ast.parse(text)
    else:
        subprocess.run(["sh", "-n", str(path)], check=True)


def test_an_image_says_its_version_and_revision(tmp_path: Path) -> None:
    """Builds an image of nothing but the last stage's labels; `make container-test` looks at those of the real one."""
    if not shutil.which("podman") or os.geteuid() != 0:
        pytest.skip("needs podman and root")
    last = joined(DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :])
    lines = ["FROM scratch", *re.findall(r"^(?:ARG|LABEL) .*$", last, re.MULTILINE)]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    given = {"version": "1.2.3", "revision": "0123abcd"}
    arguments = [f"--build-arg={name.upper()}={value}" for name, value in given.items()]
    name = f"localhost/playground-labels-{os.getpid()}"
    built = [*("podman", "build", "--quiet", "--format", "docker", "-t", name), *arguments, str(tmp_path)]
    subprocess.run(built, check=True, capture_output=True)
    try:
        asked = ["podman", "image", "inspect", "--format", "{{json .Config.Labels}}", name]
        found = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)
    finally:
        subprocess.run(["podman", "image", "rm", "--force", name], check=True, capture_output=True)
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in found.items()}
    assert {"title", "description"} < labels.keys()
    assert given.items() <= labels.items()
    assert COMPOSE["services"]["playground"]["build"]["args"].keys() == {"VERSION", "REVISION"}


UNIT = (ROOT / "deploy/playground.service").read_text()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """`tools/systemd-test` starts it in an emulated machine."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze; Debian's package systemd has it")
    unit = tmp_path / "playground.service"
    # It complains about a program that is not there.
    unit.write_text(UNIT.replace("/opt/playground/.venv/bin/playground", sys.executable))
    done = subprocess.run(["systemd-analyze", "--man=no", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr, done.stderr


def test_the_unit_keeps_the_capabilities_of_slots_and_sets_only_settings_that_there_are() -> None:
    for name in ("AmbientCapabilities", "CapabilityBoundingSet"):
        [kept] = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
        assert kept.lower().replace("cap_", "").split() == list(NEEDED)
    names = re.findall(r"^Environment=(PLAYGROUND_\w+)=", UNIT, re.MULTILINE)
    assert len(names) >= 3
    assert known(names)


def test_the_unit_knows_how_a_server_ends() -> None:
    """`tools/systemd-test` tries what these options do."""
    service = service_of("playground.service")
    assert service["KillMode"] == "mixed", "SIGTERM goes to the server alone, which ends its runs"
    assert service["SuccessExitStatus"] == str(128 + signal.SIGTERM)
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", str(BAD_USE))
    assert (service["Delegate"], service["OOMPolicy"]) == ("yes", "continue"), (
        "a run that the kernel ends is only a run"
    )


def test_the_shipped_profile_allows_what_namespaces_take_and_no_rarer_call() -> None:
    profile = json.loads((ROOT / "deploy/seccomp.json").read_text())
    free = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("includes") and not rule.get("args")
        for name in rule["names"]
    }
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {"clone", "mount", "pivot_root", "sethostname", "umount2", "unshare"} <= free
    assert not {"bpf", "keyctl", "perf_event_open", "setns", "userfaultfd", "io_uring_setup", "clone3"} & free


def test_the_packages_of_the_image_can_be_installed() -> None:
    if not os.access("/usr/bin/apt-get", os.X_OK) or "bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("only Debian bookworm knows its packages")
    installs = re.findall(r"apt-get install -qq -y --no-install-recommends((?: [a-z0-9+.-]+)+)", joined(DOCKERFILE))
    names = " ".join(installs).split()
    assert {"cargo-web", "rustc-web", "rust-web-src", "bubblewrap", "lld", "qemu-system-arm", "strace"} <= set(names)
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_python_package_has_a_file_for_the_image(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image build compiles no package, on either architecture."""
    monkeypatch.chdir(ROOT)
    installer = runpy.run_path("deploy/install-python")
    wanted: dict[str, list[str]] = {}
    installer["collect"](installer["PROJECT"]["name"], ["cluster"], wanted)
    assert len(wanted) > 20
    tags = {str(tag) for tag in tags_of_bookworm(machine)}
    for name in wanted:
        files = [wheel["url"].rpartition("/")[2] for wheel in installer["PACKAGES"][name]["wheels"]]
        assert any(tags & {str(tag) for tag in parse_wheel_filename(file)[3]} for file in files), name


def tags_of_bookworm(machine: str) -> Iterator[Tag]:
    """Return the wheel tags that Debian 12's Python accepts."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 16, -1)] + [f"manylinux2014_{machine}"]
    yield from cpython_tags((3, 11), platforms=platforms)
    yield from compatible_tags((3, 11), "cp311", platforms)


def test_containers_do_what_the_docs_say() -> None:
    """Uses Docker's default seccomp profile and capabilities; `make container-test` proves the rest on the image.

    One layer over this machine's root serves all parts.
    """
    lacking = [name for name in ("podman", "runc", "tini") if not shutil.which(name)]
    if lacking or os.geteuid() != 0:
        pytest.skip(f"needs {', '.join([*lacking, *['root'] * (os.geteuid() != 0)])}")
    parts = ["default", "namespaces", "readonly", "disk", "user", "class"]
    parts += ["memory", "keep", "pair", "cluster"] if EVERYTHING else []
    command = [sys.executable, str(ROOT / "tools/container-test"), "--here", *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
