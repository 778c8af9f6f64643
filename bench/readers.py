"""A thousand open readers of one web process, on both engines: ``python -m bench.readers [READERS]``.

A program prints the time once a second. Each reader notes how late it gets each line. Prints the median, the 95th
percentile and the greatest delay, and the processor time of the web.
"""

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import httpx

from bench.common import beside_runs, require_compilers, serving
from bench.processes import parts
from tests.support.broker import WorkerProcess, nats_server

READERS = 1000
_LINES = 6
"""Lines of each reader that count, once all readers are there."""
_CLOCK = """use std::{thread::sleep, time::{Duration, SystemTime, UNIX_EPOCH}};

fn main() {
    loop {
        println!("{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros());
        sleep(Duration::from_secs(1));
    }
}
"""
_BODY = {"lesson": "hello-std", "command": "cargo run", "files": {"src/main.rs": _CLOCK}}


@contextmanager
def web(folder: Path, readers: int, *, elsewhere: bool) -> Iterator[tuple[str, int]]:
    """Serve on one of the engines; yield the address and the process id."""
    most = str(2 * readers + 100)
    variables = {f"PLAYGROUND_{name}": most for name in ("MAX_STREAMS", "MAX_RUN_STREAMS", "MAX_CONNECTIONS")}
    variables["PLAYGROUND_ADDRESS_SHARE"] = "1"
    variables |= {"PLAYGROUND_RUN_SECONDS": "300", "PLAYGROUND_PROGRAM_SECONDS": "300"}
    folder.mkdir()
    folder.chmod(0o711)
    with ExitStack() as stack:
        if elsewhere:
            broker = stack.enter_context(nats_server())
            worker = WorkerProcess(broker.url, stack.enter_context(beside_runs()) / "runs", 1, False, **variables)
            stack.callback(worker.kill)
            variables["PLAYGROUND_ENGINE"] = broker.url
        server, pid = stack.enter_context(serving(folder / "web", variables=variables))
        yield f"http://{server.host}:{server.port}", pid


async def delays(url: str, pid: int, readers: int) -> tuple[list[float], float]:
    """Return the delay of each line at each reader, sorted, and the processors that the web used meanwhile."""
    found: list[float] = []
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        run = (await client.post("/api/runs", json=_BODY)).json()

        async def read() -> None:
            left = _LINES
            async with client.stream("GET", run["events"]) as answer:
                answer.raise_for_status()
                async for line in answer.aiter_lines():
                    event = json.loads(line[6:]) if line.startswith("data: ") else {}
                    if complete.is_set() and event.get("type") == "output" and event["text"].strip().isdigit():
                        found.append(1000 * time.time() - int(event["text"]) / 1000)
                        left -= 1
                        if not left:
                            return

        complete = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(readers):
                tasks.start_soon(read)
                await anyio.sleep(0.002)
            await anyio.sleep(2)
            complete.set()
            began, before = time.perf_counter(), parts(pid).server
            await anyio.sleep(_LINES - 2)
            used = (parts(pid).server - before) / (time.perf_counter() - began)
        await client.delete(f"/api/runs/{run['id']}")
    return sorted(found), used


def main() -> None:
    """Measure both engines."""
    require_compilers()
    readers = int(sys.argv[1]) if len(sys.argv) > 1 else READERS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{os.cpu_count()} processors, {readers} readers of one run, a line a second")
    print(f"{'ms until a reader has a line':34}{'median':>8}{'95th':>8}{'most':>8}   processors of the web")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o711)
        for title, elsewhere in (("this process", False), ("broker and a worker", True)):
            with web(folder / title.split()[0], readers, elsewhere=elsewhere) as (url, pid):
                found, used = anyio.run(delays, url, pid, readers)
            cells = f"{statistics.median(found):8.0f}{found[int(0.95 * len(found))]:8.0f}{found[-1]:8.0f}"
            print(f"{title:34}{cells}{used:10.2f}", flush=True)


if __name__ == "__main__":
    main()
