"""Settings from the environment; an error names the variable that cannot be used."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer import Exit

from app import settings
from app.cli.common import settings_of
from app.settings import Settings


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
        "PLAYGROUND_ALLOWED_HOSTS: 'http://192.168.1.5' is not a host; "
        "write a name or an address without http://, such as 192.168.1.5.\n"
    )


def test_runs_lie_in_the_data_folder_where_tmp_starts_no_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PLAYGROUND_SCRATCH_DIR", raising=False)
    monkeypatch.setattr(settings, "starts_programs", lambda _folder: False)
    assert Settings(data_dir=tmp_path).scratch_dir == tmp_path / "scratch"
    monkeypatch.setattr(settings, "starts_programs", lambda _folder: True)
    assert tmp_path not in Settings(data_dir=tmp_path).scratch_dir.parents


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]  # the type checker refuses it, too
