"""Terms: the promises of settings that the engine keeps (lease, requeues, limits). Built once by app, handed
to the verbs that need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runyard.model.trigger import ServerFacts

if (
    TYPE_CHECKING
):  # pydantic takes longer to import than a small pipeline to run, and `runyard run` has no settings
    from runyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Terms:
    """Field names and units are those of `settings.Settings`."""

    server: ServerFacts = field(default_factory=ServerFacts)
    lease_s: int = 60
    requeues: int = 2
    job_timeout_s: int = 3600
    stuck_after_s: int = 86400
    log_limit_bytes: int = 100 << 20
    artifact_limit_bytes: int = 5 << 30
    artifact_expiry_s: int = 30 * 86400
    run_retention_s: int = 0
    orphan_blob_s: int = 3600
    jobs_per_run: int = 2000

    @classmethod
    def of(cls, settings: Settings, server: ServerFacts) -> Terms:
        """From settings."""
        return cls(
            server=server,
            lease_s=settings.lease_s,
            requeues=settings.requeues,
            job_timeout_s=settings.job_timeout_s,
            stuck_after_s=settings.stuck_after_s,
            log_limit_bytes=settings.log_limit_bytes,
            artifact_limit_bytes=settings.artifact_limit_bytes,
            artifact_expiry_s=settings.artifact_expiry_s,
            run_retention_s=settings.run_retention_s,
            orphan_blob_s=settings.orphan_blob_s,
            jobs_per_run=settings.jobs_per_run,
        )
