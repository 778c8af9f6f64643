"""Metrics, the log's lines and request ids, with a scripted engine."""

import json
import logging
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app.cli.logs import configure
from app.protocol.events import Finished, Started, Verdict
from app.protocol.worker import Crew, WorkerInfo
from app.settings import Settings
from app.web.metrics import CurrentValues
from app.web.prometheus import PrometheusMetrics
from app.web.state import Playground
from app.web.watch import Load, RunWatch
from tests.support.clients import seat_of
from tests.support.scripted import ScriptedEngine, post

pytestmark = pytest.mark.anyio
TOKEN = "a-token-of-the-operator"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics": TOKEN})


def journal(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, object]]:
    return [record.fields for record in caplog.records if record.message == message]  # type: ignore[attr-defined]  # given as extra


async def samples(learner: httpx.AsyncClient) -> dict[str, float]:
    """Return each sample of ``/metrics`` by its name and labels."""
    answer = await learner.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    return {
        f"{sample.name}{sorted(sample.labels.items()) or ''}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def one_run(learner: httpx.AsyncClient, app: FastAPI, engine: ScriptedEngine) -> str:
    """Post a run and report its verdict as the local engine would; return its id."""
    playground: Playground = app.state.playground
    await post(learner, main="// the learner's own text\n")
    job = engine.jobs[-1]
    run = f"{len(engine.jobs):032x}"
    started = Started(toolchain="1.99", argv=("cargo", "build"), isolation="namespaces")
    end = Finished(status="limit", exit_code=None, seconds=1.5, limit="memory")
    verdict = Verdict(reached=False, checks=())
    await playground._verdict(job.model_copy(update={"run_id": run}), [started, end], verdict)
    return run


async def test_metrics_are_for_whom_the_operator_names(app: FastAPI, learner: httpx.AsyncClient) -> None:
    for wrong in ({}, {"authorization": "Bearer x"}, {"authorization": TOKEN}):
        refused = await learner.get("/metrics", headers=wrong)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no-metrics")
    assert (await samples(learner))["playground_seats"] == 1
    playground: Playground = app.state.playground
    for wanted, status in (("127.0.0.0/8", 200), ("192.0.2.1", 403), ("", 404)):
        playground.settings = playground.settings.model_copy(update={"metrics": wanted})
        assert (await learner.get("/metrics")).status_code == status
    assert "set-cookie" not in (await learner.get("/metrics")).headers


async def test_what_happens_is_counted(app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine) -> None:
    engine.state = "queued"
    await post(learner)
    waiting = await samples(learner)
    assert (waiting["playground_queue_runs"], waiting["playground_running_runs"]) == (1, 0)
    assert waiting["playground_queue_oldest_seconds"] > 0
    assert (await learner.get("/readyz")).json()["waiting"] == 1
    engine.state = "done"
    await one_run(learner, app, engine)
    await learner.get("/nowhere")
    found = await samples(learner)
    labels = [("isolation", "namespaces"), ("limit", "memory"), ("status", "limit")]
    assert found[f"playground_runs_total{labels}"] == 1
    assert found[f"playground_run_phase_seconds_sum{[('phase', 'run')]}"] == 1.5
    assert found["playground_run_events_total"] == 2
    assert found[f"playground_refusals_total{[('code', 'http-404')]}"] == 1
    assert (found["playground_queue_runs"], found["playground_store_failures_total"]) == (0, 0)
    assert found["process_resident_memory_bytes"] > 1_000_000
    store = app.state.playground.progress._store
    await store.rows("create trigger refuse before insert on files begin select raise(abort, 'disk full'); end")
    await post(learner)
    assert (await samples(learner))["playground_store_failures_total"] == 1


def test_a_worker_makes_no_labels_of_its_own() -> None:
    metrics = PrometheusMetrics()
    for number in range(50):
        metrics.ran("ok", "", f"level {number}", 1, {})
    assert metrics.text(CurrentValues()).count(b"playground_runs_total{") == 1


async def test_a_kept_answer_has_the_times_of_no_run(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    await post(learner)
    playground: Playground = app.state.playground
    started = Started(toolchain="1.99", argv=("cargo", "build"), isolation="namespaces", age=60)
    end = Finished(status="ok", exit_code=0, seconds=1.5)
    job = engine.jobs[-1].model_copy(update={"run_id": f"{1:032x}"})
    with caplog.at_level(logging.INFO):
        await playground._verdict(job, [started, end], Verdict(reached=True, checks=()))
    found = await samples(learner)
    assert found["playground_kept_answers_total"] == 1
    assert found[f"playground_run_phase_seconds_count{[('phase', 'run')]}"] == 0
    [line] = journal(caplog, "run")
    assert line["kept"] is True
    assert "run_seconds" not in line


def test_owners_are_present_for_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("app.web.prometheus.time.monotonic", lambda: now[0])
    metrics = PrometheusMetrics()
    for at, owner in ((0, "a"), (100, "b"), (200, "a"), (250, None)):
        now[0] = at
        metrics.seen(owner)
    assert metrics.present() == 3
    now[0] = 450
    assert metrics.present() == 2, "b has gone"


async def test_runs_are_followed_until_their_end_and_not_without_bound(app: FastAPI) -> None:
    playground: Playground = app.state.playground
    now = [0.0]
    watch = RunWatch(playground.metrics, playground.journal, clock=lambda: now[0])
    for number in range(6000):
        watch.accepted(f"{number:032x}")
    assert watch.request_of(f"{0:032x}") == "", "the oldest is not followed any more"
    assert len(watch._open) == 5000
    assert await watch.load(playground.engine) == Load(0, 0, 0.0), "none of them is a run of the engine's"
    assert not watch._open


async def _crew() -> Crew:
    worker = {"id": "desk-1", "version": "1", "courses": {}, "isolation": "namespaces", "slots": 2, "toolchains": ()}
    told = WorkerInfo.model_validate(worker | {"busy": 1, "counts": {"taken": 5, "taken_over": 1}})
    other = told.model_copy(update={"id": "desk-2", "busy": 0, "counts": {}})
    return Crew(connected=True, reconnections=3, workers=((told, "ready"), (other, "refused")))


async def test_workers_elsewhere_are_shown(app: FastAPI, learner: httpx.AsyncClient) -> None:
    assert not any(name.startswith("playground_worker") for name in await samples(learner)), "there are none here"
    app.state.playground.inventory.crew = _crew
    found = await samples(learner)
    assert found["playground_broker_connected"] == 1
    assert found["playground_broker_reconnections_total"] == 3
    assert (
        found[f"playground_workers{[('state', 'ready')]}"] == found[f"playground_workers{[('state', 'refused')]}"] == 1
    )
    assert found[f"playground_worker_busy{[('worker', 'desk-1')]}"] == 1
    assert found[f"playground_worker_slots{[('worker', 'desk-2')]}"] == 2
    assert found[f"playground_worker_runs_total{[('how', 'taken'), ('worker', 'desk-1')]}"] == 5
    assert found[f"playground_worker_runs_total{[('how', 'fenced'), ('worker', 'desk-1')]}"] == 0


def names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:playground|process)_\w+", expression))


async def test_board_and_alerts_ask_for_metrics_that_exist(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine
) -> None:
    await one_run(learner, app, engine)
    await learner.get("/nowhere")
    (app.state.playground.settings.data_dir / "last-backup.json").write_text(
        '{"at": "2026-11-30T12:00:00+00:00", "file": null}'
    )
    app.state.playground.inventory.crew = _crew
    answer = await learner.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    real = {name.partition("[")[0] for name in await samples(learner)}
    real |= set(re.findall(r"^# TYPE (\w+)", answer.text, re.MULTILINE))  # those without a sample here, too
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len(panels) > 10
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]] + [rule["expr"] for rule in rules]
    for expression in asked:
        assert names(expression) <= real, expression
    own = {name for name in real if name.startswith("playground_") and not name.endswith(("_created", "_bucket"))}
    unseen = (
        own - set().union(*map(names, asked)) - {"playground_run_phase_seconds", "playground_run_phase_seconds_sum"}
    )
    assert not unseen, "the board shows every metric"
    documented = names((DEPLOY.parent / "docs/operation.md").read_text())
    assert {re.sub("_(sum|count|bucket)$", "", name) for name in own} <= documented


def test_every_alert_has_a_test() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    groups = yaml.safe_load((DEPLOY / "alerts-test.yml").read_text())["tests"]
    fired = {test["alertname"] for group in groups for test in group["alert_rule_test"] if test["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules}


@pytest.mark.parametrize(("command", "file"), [("check", "alerts.yml"), ("test", "alerts-test.yml")])
def test_prometheus_accepts_the_alert_rules_and_fires_them_when_their_tests_say(command: str, file: str) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("there is no promtool; Debian's package prometheus has it")
    done = subprocess.run([promtool, command, "rules", file], cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout, done


async def test_a_request_id_is_given_back_and_taken_from_proxies_only(app: FastAPI) -> None:
    for client, given, taken in (
        (("127.0.0.1", 1234), "from-the-proxy.1", True),
        (("192.0.2.7", 0), "from-the-proxy.1", True),
        (("192.0.2.7", 1234), "from-a-client", False),
        (("127.0.0.1", 1234), "two words", False),
        (("127.0.0.1", 1234), "x" * 65, False),
    ):
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
            answer = await one.get("/healthz", headers={"x-request-id": given})
            assert (answer.headers["x-request-id"] == given) is taken
            refused = await one.get("/healthz", headers={"host": "evil.example"})
            assert re.fullmatch("[0-9a-f]{16}", refused.headers["x-request-id"])


async def test_the_log_has_a_line_for_each_run_and_refusal_without_texts_and_addresses(
    app: FastAPI, learner: httpx.AsyncClient, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.journal")
    run = await one_run(learner, app, engine)
    refused = await learner.get(f"/api/runs/{'f' * 32}?secret=1")
    [ran] = journal(caplog, "run")
    assert ran | {"request": "", "queue_seconds": 0, "verdict_seconds": 0} == {
        "request": "",
        "run": run[:8],
        "course": engine.jobs[0].course,
        "lesson": "one",
        "command": "cargo",
        "toolchain": "1.99",
        "isolation": "namespaces",
        "status": "limit",
        "limit": "memory",
        "reason": None,
        "reached": False,
        "kept": False,
        "queue_seconds": 0,
        "run_seconds": 1.5,
        "verdict_seconds": 0,
    }
    [line] = journal(caplog, "refused")
    assert line == {
        "method": "GET",
        "path": "/api/runs/ID",
        "status": 404,
        "code": "no-such-run",
        "request": refused.headers["x-request-id"],
    }
    assert not journal(caplog, "access")
    written = json.dumps([ran, line])
    assert "127.0.0.1" not in written
    assert seat_of(learner.cookies) not in written
    assert "own text" not in written


async def test_a_failed_store_has_a_line_with_the_request(
    app: FastAPI, learner: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    store = app.state.playground.progress._store
    await store.rows("create trigger refuse before insert on files begin select raise(abort, 'disk full'); end")
    answer = await post(learner)
    [line] = journal(caplog, "not stored")
    assert line == {"request": answer.headers["x-request-id"], "run": "", "lesson": "one", "why": "disk full"}


async def test_addresses_and_access_lines_are_there_on_request(
    app: FastAPI, learner: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.journal")
    journal_ = app.state.playground.journal
    journal_._access = journal_._addresses = True
    answer = await learner.get("/glossary?x=1")
    [line] = journal(caplog, "access")
    assert (line["method"], line["path"], line["status"]) == ("GET", "/glossary", 200)
    assert (line["address"], line["request"]) == ("127.0.0.1", answer.headers["x-request-id"])


def test_a_lines_fields_are_keys_of_its_object(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    configure(settings.model_copy(update={"log_format": "json"}))
    logging.getLogger("app.journal").info("run", extra={"fields": {"lesson": "one", "reached": True}})
    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["lesson"], line["reached"]) == ("run", "one", True)
    configure(settings.model_copy(update={"log_format": "text"}))
    fields = {"lesson": "one", "run": "", "why": "disk full"}
    logging.getLogger("app.journal").error("not stored", extra={"fields": fields})
    logging.getLogger("app").warning("%d seats", 3)
    assert capsys.readouterr().err == "ERROR: not stored (lesson: one, why: disk full)\nWARNING: 3 seats\n"
    logging.basicConfig(handlers=[], level=logging.WARNING, force=True)
