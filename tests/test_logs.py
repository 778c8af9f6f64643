"""The server's log: text on standard error, or JSON lines on standard output."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

PROGRAM = str(Path(sys.executable).with_name("playground"))


def serve(folder: Path, **variables: str) -> subprocess.Popen[str]:
    own = {"PLAYGROUND_DATA_DIR": str(folder / "data"), "PLAYGROUND_PORT": "0", "PLAYGROUND_LOG_FORMAT": "json"}
    command = [PROGRAM, "serve"]
    return subprocess.Popen(
        command, env=os.environ | own | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_every_line_of_standard_output_is_a_json_object(tmp_path: Path) -> None:
    with serve(tmp_path) as server:
        assert server.stdout
        first = json.loads(server.stdout.readline())
        [address] = re.findall(r"http://\S+/", first["message"])
        assert httpx.get(f"{address}healthz").status_code == 200
        server.send_signal(signal.SIGTERM)
        rest, errors = server.communicate(timeout=10)
    assert server.returncode == -signal.SIGTERM
    assert first["level"] == "info"
    assert "http://127.0.0.1:" in first["message"]
    assert [json.loads(line)["message"] for line in rest.splitlines()] == ["The playground has stopped"]
    assert errors == ""


def test_why_it_cannot_start_is_a_json_object_too(tmp_path: Path) -> None:
    with serve(tmp_path, PLAYGROUND_ISOLATION="none", PLAYGROUND_HOST="0.0.0.0") as server:
        output, _ = server.communicate(timeout=30)
    assert server.returncode == 2
    [line] = output.splitlines()
    assert json.loads(line)["level"] == "critical"
    assert "is refused" in json.loads(line)["message"]
