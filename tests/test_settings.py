"""Settings from the environment; an error names the variable that cannot be used."""

import re
import tempfile
from pathlib import Path
from typing import Literal, get_origin

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from typer import Exit
from typer.testing import CliRunner

from app import settings
from app.cli import cli
from app.cli.common import settings_of
from app.settings import Settings, warnings_about_unknown_names


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SEAT_RUNS", "often", "is not a rate; write one such as 30/minute"),
        ("ROOT_PATH", "rust", "is not a URL path; write one such as /rust"),
        ("ROOT_PATH", "/a b", "is not a URL path"),
        ("ROOT_PATH", "//evil.example", "is not a URL path"),
        ("ALLOWED_HOSTS", "http://192.168.1.5", "is not a host; write a name or an address without http://"),
        ("ALLOWED_HOSTS", '["*"]', "is not a host"),
        ("ALLOWED_HOSTS", "192.168.1", "is not a host"),
        ("ALLOWED_HOSTS", "rust.example.org,[::1", "is not a host"),
        ("TRUSTED_PROXIES", '["10.0.0.0/33"]', "10.0.0.0/33"),
        ("ADDRESS_SHARE", "1.5", "less than or equal to 1"),
        ("RUN_SECONDS", "0", "greater than 0"),
        ("ISOLATION", "some", "'auto', 'namespaces', 'landlock' or 'none'"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"PLAYGROUND_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert words in str(refused.value)
    assert name.lower() in str(refused.value)


def test_variables_are_read_and_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYGROUND_ALLOWED_HOSTS", '["rust.example.org"]')
    monkeypatch.setenv("PLAYGROUND_TRUSTED_PROXIES", '["10.0.0.0/8", "::1"]')
    monkeypatch.setenv("PLAYGROUND_ROOT_PATH", "/rust/")
    found = Settings()
    assert found.allowed_hosts == ("rust.example.org",)
    assert found.trusted_proxies == ("10.0.0.0/8", "::1")
    assert found.root_path == "/rust"


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("192.168.1.5", ("192.168.1.5",)),
        ("localhost, rust.example.org:8443,", ("localhost", "rust.example.org:8443")),
        ("[::1]", ("[::1]",)),
        ("fe80::1", ("fe80::1",)),
        ('["localhost", "[::1]"]', ("localhost", "[::1]")),
    ],
)
def test_hosts_are_listed_with_commas_or_as_json(
    monkeypatch: pytest.MonkeyPatch, value: str, hosts: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PLAYGROUND_ALLOWED_HOSTS", value)
    assert Settings().allowed_hosts == hosts


def test_a_command_says_in_one_sentence_which_setting_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYGROUND_ALLOWED_HOSTS", "http://192.168.1.5")
    with pytest.raises(Exit):
        settings_of()
    said = capsys.readouterr().err
    assert said == (
        "PLAYGROUND_ALLOWED_HOSTS cannot be used: 'http://192.168.1.5' is not a host; "
        "write a name or an address without http://, such as 192.168.1.5.\n"
    )


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that counts as the large one in memory, and from which programs can be started."""
    for name in ("PLAYGROUND_SCRATCH_DIR", "TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "starts_programs", lambda _folder: True)
    monkeypatch.setattr(settings, "_LEAST_IN_MEMORY", 1)
    monkeypatch.setattr(settings, "_IN_MEMORY", folder := tmp_path / "shm")
    folder.mkdir()
    return folder


def test_runs_lie_in_memory_where_that_is_large(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().scratch_dir.parent == in_memory
    monkeypatch.setattr(settings, "_LEAST_IN_MEMORY", 1 << 60)
    assert Settings().scratch_dir.parent == Path(tempfile.gettempdir())


def test_a_temporary_folder_that_the_user_names_comes_before_memory(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(in_memory))
    assert Settings().scratch_dir.parent == Path(tempfile.gettempdir())


def test_runs_lie_elsewhere_where_a_folder_starts_no_program(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "starts_programs", lambda folder: folder != in_memory)
    assert Settings(data_dir=tmp_path).scratch_dir.parent == Path(tempfile.gettempdir())
    monkeypatch.setattr(settings, "starts_programs", lambda _folder: False)
    assert Settings(data_dir=tmp_path).scratch_dir == tmp_path / "scratch"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # the type checker refuses it, too


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("RUN_SECONDS", "0", "PLAYGROUND_RUN_SECONDS is '0', but must be greater than 0."),
        ("ADDRESS_SHARE", "1.5", "PLAYGROUND_ADDRESS_SHARE is '1.5', but must be at most 1."),
        ("PORT", "x", "PLAYGROUND_PORT is 'x', but must be a whole number."),
        ("CONTROL_GROUPS", "perhaps", "PLAYGROUND_CONTROL_GROUPS is 'perhaps', but must be true or false."),
        ("LOG_FORMAT", "xml", "PLAYGROUND_LOG_FORMAT is 'xml', but must be 'text' or 'json'."),
        ("SEAT_RUNS", "often", "'often' is not a rate; write one such as 30/minute or 5/10 seconds."),
    ],
)
def test_a_command_says_in_one_sentence_of_ours_what_is_wrong(name: str, value: str, sentence: str) -> None:
    done = CliRunner().invoke(cli, ["seats", "list"], env={f"PLAYGROUND_{name}": value})
    assert done.exit_code == 2
    assert done.output.endswith(f"{sentence}\n")
    assert f"PLAYGROUND_{name}" in done.output
    assert done.output.count("\n") == 1
    assert "pydantic" not in done.output


NUMBERS = ("x", "-1", "9" * 40, "1e400", "nan", "inf", "-inf", "0x10", "1 000", "\u0663\u2044\u0664")
WRONG: dict[str, tuple[str, ...]] = {
    "int": (*NUMBERS, "1.5"),
    "float": NUMBERS,
    "bool": ("perhaps", "2", "-1"),
    "literal": ("some", "TRUE", "1"),
    "rate": ("often", "30", "30/fortnight", "0/minute", "-1/minute", "1/second; 10/minute"),
    "allowed_hosts": ("http://rust.example.org", "*", "a b", "[", "[1]", '["a"', "1.2.3", "a/b", "user@host"),
    "trusted_proxies": ("10.0.0.0/33", "proxy.example.org", "[1", "[null]", "10.0.0"),
    "engine": ("http://127.0.0.1", "nats://", "remote", "nats://a b"),
    "metrics": ("short", "\u00fcberraschung-sehr-lang", "10.0.0.0/33", "a token with a\ttab"),
    "root_path": ("rust", "/a b", "//evil.example", "/%2e%2e"),
}
ANYTHING = {"host", "course", "data_dir", "scratch_dir", "cache_dir", "lessons_dir", "static_dir", "engine_keys"}
"""The settings that take any text; ``serve --check`` looks at what it names."""


def wrong_values(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Return values that the setting cannot have."""
    if name in WRONG:
        return WRONG[name]
    if name.startswith(("seat_", "address_")) and field.annotation is str:
        return WRONG["rate"]
    kind = field.annotation
    return WRONG["literal" if get_origin(kind) is Literal else kind.__name__ if isinstance(kind, type) else ""]


def test_each_wrong_value_of_each_setting_is_refused_in_one_sentence_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {name: field for name, field in Settings.model_fields.items() if name not in ANYTHING}
    wrong = {f"PLAYGROUND_{name.upper()}": wrong_values(name, field) for name, field in fields.items()}
    for number in range(max(map(len, wrong.values()))):
        given = {variable: values[number % len(values)] for variable, values in wrong.items()}
        for variable, value in given.items():
            monkeypatch.setenv(variable, value)
        with pytest.raises(Exit):
            settings_of()
        said = capsys.readouterr().err
        assert not re.search(r"Input should|validation error|pydantic|String should|errors\.pydantic", said), said
        named = re.findall(r"^(PLAYGROUND_\w+) (?:is .*, but must|cannot be used: ).*\.$", said, re.MULTILINE)
        assert {variable: given[variable] for variable in given if named.count(variable) != 1} == {}, said
        assert len(said.splitlines()) == len(given), said


def test_a_variable_without_a_value_is_like_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"PLAYGROUND_{name.upper()}" for name in Settings.model_fields]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    usual = Settings()
    for name in names:
        monkeypatch.setenv(name, "")
    assert Settings() == usual


def test_several_wrong_values_are_all_named() -> None:
    done = CliRunner().invoke(cli, ["seats", "list"], env={"PLAYGROUND_PORT": "x", "PLAYGROUND_RUN_TTL": "-1"})
    assert done.output.count("\n") == 2


def test_names_that_are_no_setting_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings_about_unknown_names() == []
    monkeypatch.setenv("PLAYGROUND_MAX_RUN", "3")
    monkeypatch.setenv("PLAYGROUND_UNRELATED_THING", "3")
    assert warnings_about_unknown_names() == [
        "PLAYGROUND_MAX_RUN is not a setting and is ignored. Did you mean PLAYGROUND_MAX_RUNS?",
        "PLAYGROUND_UNRELATED_THING is not a setting and is ignored. docs/settings.md lists the settings.",
    ]


@pytest.mark.parametrize(
    ("slots", "gibibytes", "aside"), [(2, 9, 4), (2, 8, 3), (2, 6, 1), (1, 1, 1), (16, 64, 32), (256, 4096, 64)]
)
def test_twice_as_many_runs_may_be_aside_as_have_a_slot_if_the_memory_has_room(
    monkeypatch: pytest.MonkeyPatch, slots: int, gibibytes: int, aside: int
) -> None:
    monkeypatch.setattr(settings, "_machine_memory", lambda: gibibytes << 30)
    assert Settings(max_runs=slots, memory_bytes=1 << 30).max_aside == aside
