"""Generated requests from the OpenAPI document against a real server: no 5xx and no undocumented answer."""

from collections import Counter
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.support.clients import seated
from tests.support.environment import EVERYTHING

REQUESTS = 2000 if EVERYTHING else 500
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
COMMANDS = [
    *("rustc --version", "cargo --version", "rustup target list", "cargo clean", "readelf -h target/debug/blog_os"),
    *("cargo install x", "cargo build --config x", "sh", ""),
]


@pytest.fixture(scope="module")
def document(server: str) -> dict[str, Any]:
    loaded: dict[str, Any] = httpx.get(f"{server}/api/openapi.json").json()
    return loaded


def test_every_answer_that_can_come_is_documented(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            assert {"400", "414", "429", "431"} <= answers.keys(), path
            for status, answer in answers.items():
                if int(status) >= 400 and path != "/readyz":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    run = document["paths"]["/api/runs"]["post"]["responses"]
    assert {"202", "403", "404", "408", "409", "413", "422", "503"} <= run.keys()
    events = document["paths"]["/api/runs/{run_id}/events"]["get"]["responses"]
    assert list(events["200"]["content"]) == ["text/event-stream"]


def _meaningful(case: Case[Any], data: st.DataObject, runs: list[str], slugs: list[str]) -> None:
    """Replace about half of the generated values by real lessons, runs and commands."""
    if not data.draw(st.booleans(), label="meaningful"):
        return
    for name, known in (("run_id", runs), ("slug", slugs)):
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = data.draw(st.sampled_from(known), label=name)
    if isinstance(case.body, dict):
        case.body |= {
            "lesson": data.draw(st.sampled_from(slugs), label="lesson"),
            "command": data.draw(st.sampled_from(COMMANDS), label="command"),
        }
        if data.draw(st.booleans(), label="after"):
            case.body["after"] = data.draw(st.sampled_from(runs), label="run")
        if data.draw(st.booleans(), label="default"):
            case.body.pop("toolchain", None)
            case.body.pop("files", None)


def _run(client: httpx.Client, command: str) -> str:
    answer = client.post("/api/runs", json={"lesson": "hello-std", "command": command}).json()
    assert client.get(answer["events"]).status_code == 200
    return str(answer["id"])


def test_generated_requests_find_no_fault(server: str, document: dict[str, Any]) -> None:
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) == sum(len(each) for each in document["paths"].values())
    statuses: Counter[int] = Counter()
    with seated(server) as other, httpx.Client(base_url=server, timeout=30) as client, requests.Session() as session:
        runs = [_run(client, "cargo build"), _run(client, "rustc --version"), _run(other, "rustc --version"), "0" * 32]
        slugs = [lesson["slug"] for lesson in _lessons(client)]
        modes = list(GenerationMode)

        @settings(
            max_examples=REQUESTS,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def one_request(data: st.DataObject) -> None:
            operation = data.draw(st.sampled_from(operations), label="operation")
            mode = data.draw(st.sampled_from(modes), label="mode")
            case = data.draw(operation.as_strategy(generation_mode=mode), label="case")
            _meaningful(case, data, runs, slugs)
            answer = case.call(base_url=server, session=session, timeout=30)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500 or operation.path == "/readyz", answer.text
            case.validate_response(answer, checks=CHECKS)

        one_request()
    print(dict(statuses))
    assert statuses.total() >= REQUESTS
    assert {200, 202, 204, 404, 409, 422} <= statuses.keys(), "the requests went deep enough"


def _lessons(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/api/lessons").json()
    return found
