"""Liveness, readiness and metrics, for the operator's own tools; no token needed, nothing private told."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from runyard.engine.ports import RunFilter, Tx
from runyard.http.services import Services
from runyard.model.errors import RunyardError
from runyard.model.state import State

OPEN = tuple((s, None) for s in State if s is not State.DONE)


def probes(services: Services) -> Starlette:
    """The three addresses."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        try:
            await services.db.read(lambda tx: tx.user_by_name("root"))
        except RunyardError as error:
            return JSONResponse({"status": "unavailable", "why": error.message}, 503)
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        def count(tx: Tx) -> tuple[int, int]:
            return tx.count_runs(RunFilter()), tx.count_runs(RunFilter(wanted=OPEN))

        runs, unfinished = await services.db.read(count)
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
        from prometheus_client.process_collector import ProcessCollector

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("runyard_runs", "Runs kept (counted up to 10,001)", registry=registry).set(runs)
        Gauge("runyard_open_runs", "Runs that are not done", registry=registry).set(unfinished)
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4")

    return Starlette(routes=[Route("/healthz", live), Route("/readyz", ready), Route("/metrics", metrics)])
