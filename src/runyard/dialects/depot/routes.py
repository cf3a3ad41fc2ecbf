"""Depot's door: CIService, CacheService, secrets, variables and OrganizationService over Connect (JSON and
binary, HTTP/1.1 and h2c), and artifact links.

`mount` is the Dialect's. Methods not written here answer Connect `unimplemented` by the generated protocol
class.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from connectrpc.request import RequestContext
from protobuf.wkt import Timestamp

from runyard.dialects.depot import dispatches, ids
from runyard.dialects.depot.access import Asker, Translator
from runyard.dialects.depot.acting import Acting
from runyard.dialects.depot.asking import DOWNLOAD_PATH, Asking
from runyard.dialects.depot.cache import PATH as CACHE_PATH
from runyard.dialects.depot.cache import Cache
from runyard.dialects.depot.codecs import codecs
from runyard.dialects.depot.compute import Compute
from runyard.dialects.depot.diagnosis import Diagnosis
from runyard.dialects.depot.downloads import Downloads
from runyard.dialects.depot.fleet import door as fleet
from runyard.dialects.depot.gen.depot.cache.v1.cache_connect import CacheServiceASGIApplication
from runyard.dialects.depot.gen.depot.ci.v1 import ci_pb as pb
from runyard.dialects.depot.gen.depot.ci.v1 import secrets_connect as secrets_v1
from runyard.dialects.depot.gen.depot.ci.v1 import variables_connect as variables_v1
from runyard.dialects.depot.gen.depot.ci.v1.api_connect import DepotComputeServiceASGIApplication
from runyard.dialects.depot.gen.depot.ci.v1.ci_connect import (
    CIService,
    CIServiceASGIApplication,
    MigrationServiceASGIApplication,
)
from runyard.dialects.depot.gen.depot.ci.v2 import migration_connect as migration_v2
from runyard.dialects.depot.gen.depot.ci.v2 import secrets_connect as secrets_v2
from runyard.dialects.depot.gen.depot.ci.v2 import variables_connect as variables_v2
from runyard.dialects.depot.gen.depot.ci.v3beta2 import secrets_connect as secrets_v3
from runyard.dialects.depot.gen.depot.ci.v3beta2 import variables_connect as variables_v3
from runyard.dialects.depot.gen.depot.cli.v1beta1.login_connect import LoginServiceASGIApplication
from runyard.dialects.depot.gen.depot.core.v1 import org_pb
from runyard.dialects.depot.gen.depot.core.v1.org_connect import (
    OrganizationService,
    OrganizationServiceASGIApplication,
)
from runyard.dialects.depot.login import Login
from runyard.dialects.depot.logs import Logs
from runyard.dialects.depot.metrics import Metrics
from runyard.dialects.depot.migration import MigrationOne, Migrations
from runyard.dialects.depot.results.door import PREFIXES as RESULTS
from runyard.dialects.depot.results.door import Results
from runyard.dialects.depot.secrets import Secrets, SecretsV1, SecretsV2
from runyard.dialects.depot.shelf import Keeper
from runyard.dialects.depot.transfers import Transfers
from runyard.dialects.depot.variables import Variables, VariablesV1, VariablesV2
from runyard.http.front import Asgi, Receive, Scope, Send
from runyard.http.services import Services

MAX_MESSAGE_BYTES = 4 << 20
TRAILERS = "http.response.trailers"
COMPUTE = "/depot.ci.v1.DepotComputeService"
_Ctx = RequestContext[Any, Any]


class Ci(CIService):
    """`depot.ci.v1.CIService`: each method is one line to who does it."""

    def __init__(self, services: Services) -> None:
        self._asking, self._acting, self._logs = Asking(services), Acting(services), Logs(services)
        self._diagnosis, self._metrics = Diagnosis(services), Metrics(services)

    async def run(self, request: pb.RunRequest, ctx: _Ctx, /) -> pb.RunResponse:
        return await self._acting.run(request)

    async def dispatch_workflow(
        self, request: pb.DispatchWorkflowRequest, ctx: _Ctx, /
    ) -> pb.DispatchWorkflowResponse:
        return await self._acting.dispatch_workflow(request)

    async def retry_job(self, request: pb.RetryJobRequest, ctx: _Ctx, /) -> pb.RetryJobResponse:
        return await self._acting.retry_job(request)

    async def rerun_workflow(
        self, request: pb.RerunWorkflowRequest, ctx: _Ctx, /
    ) -> pb.RerunWorkflowResponse:
        return await self._acting.rerun_workflow(request)

    async def retry_failed_jobs(
        self, request: pb.RetryFailedJobsRequest, ctx: _Ctx, /
    ) -> pb.RetryFailedJobsResponse:
        return await self._acting.retry_failed_jobs(request)

    async def cancel_job(self, request: pb.CancelJobRequest, ctx: _Ctx, /) -> pb.CancelJobResponse:
        return await self._acting.cancel_job(request)

    async def cancel_workflow(
        self, request: pb.CancelWorkflowRequest, ctx: _Ctx, /
    ) -> pb.CancelWorkflowResponse:
        return await self._acting.cancel_workflow(request)

    async def cancel_run(self, request: pb.CancelRunRequest, ctx: _Ctx, /) -> pb.CancelRunResponse:
        return await self._acting.cancel_run(request)

    async def get_run(self, request: pb.GetRunRequest, ctx: _Ctx, /) -> pb.GetRunResponse:
        return await self._asking.get_run(request)

    async def get_run_status(self, request: pb.GetRunStatusRequest, ctx: _Ctx, /) -> pb.GetRunStatusResponse:
        # Not the message itself but what writes it: codecs know the difference no more than clients do.
        return cast("pb.GetRunStatusResponse", await self._asking.get_run_status(request))

    async def get_workflow(self, request: pb.GetWorkflowRequest, ctx: _Ctx, /) -> pb.GetWorkflowResponse:
        return await self._asking.get_workflow(request)

    async def get_failure_diagnosis(
        self, request: pb.GetFailureDiagnosisRequest, ctx: _Ctx, /
    ) -> pb.GetFailureDiagnosisResponse:
        return await self._diagnosis.get(request)

    async def get_job_attempt_metrics(
        self, request: pb.GetJobAttemptMetricsRequest, ctx: _Ctx, /
    ) -> pb.GetJobAttemptMetricsResponse:
        return await self._metrics.of_attempt(request)

    async def get_job_metrics(
        self, request: pb.GetJobMetricsRequest, ctx: _Ctx, /
    ) -> pb.GetJobMetricsResponse:
        return await self._metrics.of_job(request)

    async def get_run_metrics(
        self, request: pb.GetRunMetricsRequest, ctx: _Ctx, /
    ) -> pb.GetRunMetricsResponse:
        return await self._metrics.of_run(request)

    async def get_job_summary(
        self, request: pb.GetJobSummaryRequest, ctx: _Ctx, /
    ) -> pb.GetJobSummaryResponse:
        return await self._asking.get_job_summary(request)

    async def list_artifacts(
        self, request: pb.ListArtifactsRequest, ctx: _Ctx, /
    ) -> pb.ListArtifactsResponse:
        return await self._asking.list_artifacts(request)

    async def get_artifact_download_url(
        self, request: pb.GetArtifactDownloadURLRequest, ctx: _Ctx, /
    ) -> pb.GetArtifactDownloadURLResponse:
        return await self._asking.get_artifact_download_url(request)

    async def get_job_attempt_logs(
        self, request: pb.GetJobAttemptLogsRequest, ctx: _Ctx, /
    ) -> pb.GetJobAttemptLogsResponse:
        return await self._logs.get(request)

    def stream_job_attempt_logs(
        self, request: pb.StreamJobAttemptLogsRequest, ctx: _Ctx, /
    ) -> AsyncIterator[pb.StreamJobAttemptLogsResponse]:
        return self._logs.stream(request)

    def export_job_attempt_logs(
        self, request: pb.ExportJobAttemptLogsRequest, ctx: _Ctx, /
    ) -> AsyncIterator[pb.ExportJobAttemptLogsResponse]:
        return self._logs.export(request)

    async def list_runs(self, request: pb.ListRunsRequest, ctx: _Ctx, /) -> pb.ListRunsResponse:
        return await self._asking.list_runs(request)

    async def list_workflows(
        self, request: pb.ListWorkflowsRequest, ctx: _Ctx, /
    ) -> pb.ListWorkflowsResponse:
        return await self._asking.list_workflows(request)


class Organizations(OrganizationService):
    """`depot.core.v1.OrganizationService`: this server is one organisation."""

    async def list_organizations(
        self, request: org_pb.ListOrganizationsRequest, ctx: _Ctx, /
    ) -> org_pb.ListOrganizationResponse:
        one = org_pb.ListOrganizationResponse.Organization(
            org_id=ids.ORG, name="Runyard", created_at=Timestamp(seconds=0)
        )
        return org_pb.ListOrganizationResponse(organizations=[one])


def mount(services: Services) -> Asgi:
    """The ASGI application of this dialect."""
    secrets, variables = Keeper(services, "secret"), Keeper(services, "var")
    applications = _by_service(
        CIServiceASGIApplication(Ci(services), **_options(services)),
        OrganizationServiceASGIApplication(Organizations(), **_options(services)),
        MigrationServiceASGIApplication(MigrationOne(services), **_options(services)),
        migration_v2.MigrationServiceASGIApplication(Migrations(services), **_options(services)),
        DepotComputeServiceASGIApplication(Compute(services), **_options(services)),
        CacheServiceASGIApplication(Cache(services), **_options(services)),
        LoginServiceASGIApplication(
            Login(services), **{**_options(services), "interceptors": (Translator(),)}
        ),
        secrets_v3.SecretServiceASGIApplication(Secrets(secrets), **_options(services)),
        secrets_v2.SecretServiceASGIApplication(SecretsV2(secrets), **_options(services)),
        secrets_v1.SecretServiceASGIApplication(SecretsV1(secrets), **_options(services)),
        variables_v3.VariableServiceASGIApplication(Variables(variables), **_options(services)),
        variables_v2.VariableServiceASGIApplication(VariablesV2(variables), **_options(services)),
        variables_v1.VariableServiceASGIApplication(VariablesV1(variables), **_options(services)),
    )
    fallback = applications["/depot.ci.v1.CIService"]
    runners = fleet.mount(services)
    downloads, transfers, results = Downloads(services), Transfers(services), Results(services)
    dispatching = dispatches.Dispatches(services)

    async def door(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(f"{fleet.PREFIX}/"):
            await runners(scope, receive, send)
        elif path.startswith(DOWNLOAD_PATH):
            await downloads(scope, receive, send)
        elif path.startswith(CACHE_PATH):
            await transfers(scope, receive, send)
        elif path.startswith(RESULTS):
            await results(scope, receive, send)
        elif path.startswith(dispatches.PREFIX):
            await dispatching(scope, receive, send)
        elif _is_grpc(scope) and TRAILERS not in (scope.get("extensions") or {}):
            await _refuse_grpc(send)
        else:
            service = path.rpartition("/")[0]
            if service == COMPUTE:
                scope["runyard.body"] = "open"  # a person may be silent; compute.py has a limit of its own
            await applications.get(service, fallback)(scope, receive, send)

    return door


def _options(services: Services) -> dict[str, Any]:
    guards = (Asker(services), Translator())
    return {"interceptors": guards, "read_max_bytes": MAX_MESSAGE_BYTES, "codecs": codecs()}


def _by_service(*applications: Any) -> dict[str, Any]:
    """Applications by the path of their service, `/package.Service`."""
    return {application.path: application for application in applications}


def _is_grpc(scope: Scope) -> bool:
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return bool(kind == b"application/grpc" or kind.startswith(b"application/grpc+"))


async def _refuse_grpc(send: Send) -> None:
    """gRPC's status comes in HTTP/2 trailers, which granian does not send (depot.md §7) but the second
    listener does; a refusal fits in the headers."""
    headers = [
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"12"),
        (
            b"grpc-message",
            b"gRPC is not served on this port; use the one of grpc_listen, or Connect, or gRPC-Web",
        ),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
