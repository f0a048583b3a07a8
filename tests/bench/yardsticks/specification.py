"""The design of the first specification, taken literally: FastAPI, httpx, lists in memory, prometheus_client
in the same process, under uvicorn with uvloop and httptools."""

# FastAPI, httpx, pydantic and uvicorn are installed for the bench only: elsewhere they have no types.
# mypy: disable-error-code="import-not-found, misc, unused-ignore, no-any-return, no-untyped-call"

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel

from tests.bench.yardsticks.serving import announce, listen

INVOCATIONS = Counter("model_invocations_total", "Total number of model invocations", ["model_id", "status"])
LATENCY = Histogram("model_invocation_latency_seconds", "Latency of model invocations in seconds", ["model_id"])
ACTIVE = Gauge("model_active_invocations", "Currently active invocations", ["model_id"])
TOTAL = Gauge("model_total_invocations", "Total invocations per model", ["model_id"])
SUCCESS_RATE = Gauge("model_success_rate", "Success rate as percentage", ["model_id"])


class WorkletInput(BaseModel):
    model_id: str
    input: Any


class InvokeRequest(BaseModel):
    worklet_input: WorkletInput


class InvokeResponse(BaseModel):
    worklet_output: Any
    success: bool
    latency_ms: float
    error_log: str


class MetricsStore:
    """History and statistics, in memory and for ever."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.stats: dict[str, dict[str, Any]] = {}

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        row["id"] = len(self.history) + 1
        self.history.append(row)
        latency = row["latency_ms"]
        empty = {"total": 0, "successful": 0, "total_latency_ms": 0.0, "min_ms": latency, "max_ms": latency}
        stats = self.stats.setdefault(row["model_id"], empty)
        stats["total"] += 1
        stats["successful"] += row["success"]
        stats["total_latency_ms"] += latency
        stats["min_ms"] = min(stats["min_ms"], latency)
        stats["max_ms"] = max(stats["max_ms"], latency)
        stats["last_invocation"] = row["timestamp"]
        return stats


def make_app(upstream: str) -> Any:
    app, store, client = FastAPI(), MetricsStore(), httpx.AsyncClient(timeout=60, limits=httpx.Limits())

    async def invoke(request: InvokeRequest) -> InvokeResponse:
        model_id = request.worklet_input.model_id
        ACTIVE.labels(model_id).inc()
        started = time.perf_counter()
        output, error_log = None, ""
        try:
            answer = await client.post(f"{upstream}/invoke", json=request.model_dump())
            answer.raise_for_status()
            output = answer.json()["worklet_output"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the invocation's failure
            error_log = repr(error)
        finally:
            ACTIVE.labels(model_id).dec()
        latency_s = time.perf_counter() - started
        row = {
            "model_id": model_id,
            "timestamp": datetime.now(UTC),
            "success": not error_log,
            "latency_ms": latency_s * 1000,
            "error_log": error_log,
            "input_size": size(request.worklet_input.input),
            "output_size": size(output),
        }
        stats = store.add(row)
        INVOCATIONS.labels(model_id, "failure" if error_log else "success").inc()
        LATENCY.labels(model_id).observe(latency_s)
        TOTAL.labels(model_id).set(stats["total"])
        SUCCESS_RATE.labels(model_id).set(100 * stats["successful"] / stats["total"])
        return InvokeResponse(
            worklet_output=output, success=not error_log, latency_ms=latency_s * 1000, error_log=error_log
        )

    async def metrics() -> Response:
        return Response(generate_latest(), media_type="text/plain")

    app.add_api_route("/invoke", invoke, methods=["POST"])
    app.add_api_route("/metrics", metrics)
    return app


def size(value: Any) -> int:
    return len(value) if isinstance(value, list | str) else 1


def main(upstream: str) -> None:
    server = listen()
    announce(server)
    uvicorn.run(make_app(upstream), fd=server.fileno(), access_log=False, log_level="warning")


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
