"""Every setting, once: RUNYARD_* environment, *_FILE twins for secrets, `runyard.toml`. One frozen value,
passed down from app."""

from __future__ import annotations

import os
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

SECRETS = ("root_token", "secret_key", "registration_token")


class _Toml(TomlConfigSettingsSource):
    """`runyard.toml`; `builtin` in a table `[actions]` is `actions_builtin`. A table that no setting begins
    with is another program's."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        try:
            return super()._read_file(file_path)
        except ValueError as error:
            raise ValueError(f"{file_path}: {error}") from None

    def __call__(self) -> dict[str, Any]:
        """Every value under its flat name."""
        found: dict[str, Any] = {}
        known = Settings.model_fields
        for name, value in super().__call__().items():
            if not isinstance(value, dict):
                found[name] = value
            elif any(setting.startswith(f"{name}_") for setting in known):
                found |= {f"{name}_{key}": inner for key, inner in value.items()}
        for name in found.keys() - known.keys():
            near = get_close_matches(name, known, 1)
            raise ValueError(
                f"runyard.toml: there is no setting {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        return found


def _from_files() -> dict[str, Any]:
    """Values of RUNYARD_<SECRET>_FILE, for secrets whose plain variable is not set."""
    found = {}
    for name in SECRETS:
        path = os.environ.get(f"RUNYARD_{name.upper()}_FILE")
        if path and not os.environ.get(f"RUNYARD_{name.upper()}"):
            found[name] = Path(path).read_text(encoding="utf-8").strip()
    return found


class Settings(BaseSettings):
    """All promises with their units. `runyard settings` prints them; docs/settings.md is made from here."""

    model_config = SettingsConfigDict(
        env_prefix="RUNYARD_", frozen=True, extra="ignore", toml_file="runyard.toml"
    )

    data: Path = Field(
        default=Path("runyard-data"),
        validate_default=True,
        description="Folder of the database, blobs, repositories, caches and the root token.",
    )
    listen: str = Field(
        default="127.0.0.1:8080", description="HOST:PORT to serve on; port 0 picks a free one."
    )
    grpc_listen: str = Field(
        default="",
        description="HOST:PORT for gRPC and terminals in jobs (HTTP/2 with trailers), where everything else is served too;"
        " default: the port above that of `listen`; off: none.",
    )
    external_url: str = Field(
        default="", description="Address that clients use, for absolute links; default http://HOST:PORT."
    )
    database: str = Field(
        default="", description="sqlite:///abs/file or postgresql://…; default DATA/runyard.db."
    )
    blobs: str = Field(
        default="", description="Folder or s3://bucket/prefix for logs and artifacts; default DATA/blobs."
    )
    cache: str = Field(
        default="",
        description="Folder, or s3://bucket/prefix shared with other runners, for the caches of jobs; default DATA/cache.",
    )
    root_token: str = Field(
        default="", description="The administrator's token; default: made at first start in DATA/root-token."
    )
    secret_key: str = Field(
        default="",
        description="Key that seals secrets at rest; default: made at first start in DATA/secret-key.",
    )
    registration_token: str = Field(
        default="", description="Token that lets foreign runners register; default: made at first start."
    )

    runner_slots: int = Field(
        default=2, ge=0, description="Jobs the built-in runner executes at once; 0 switches it off."
    )
    runner_tags: str = Field(default="", description="Comma-separated tags of the built-in runner.")
    allow_plain: bool = Field(
        default=False, description="Allow running jobs without a sandbox when bubblewrap is not there."
    )
    network: Literal["none", "internet", "host"] = Field(
        default="internet", description="What jobs may reach: none, internet (not this machine), host."
    )
    job_memory_bytes: int = Field(default=4 << 30, description="Memory limit of a job, bytes.")
    job_processes: int = Field(default=4096, description="Process limit of a job.")
    job_cpus: float = Field(default=0.0, description="CPU limit of a job in cores; 0 means none.")

    lease_s: int = Field(
        default=60, gt=0, description="A runner that is silent so long has lost its attempt, seconds."
    )
    requeues: int = Field(
        default=2, description="How often a job whose runner was lost is handed out again by itself."
    )
    job_timeout_s: int = Field(default=3600, description="Time limit of a job that names none, seconds.")
    cancel_grace_s: float = Field(
        default=10.0, description="From TERM to KILL when a job is canceled, seconds."
    )
    stuck_after_s: int = Field(
        default=86400, description="A queued job that nobody took for so long fails, seconds."
    )
    log_limit_bytes: int = Field(
        default=100 << 20, description="Log limit of an attempt, bytes; beyond it the job fails."
    )
    artifact_limit_bytes: int = Field(default=5 << 30, description="Limit of one artifact, bytes.")
    artifact_expiry_s: int = Field(
        default=30 * 86400, description="Life of artifacts that name none, seconds."
    )
    run_retention_s: int = Field(
        default=0, description="Done runs older than this are removed; 0 keeps all, seconds."
    )
    orphan_blob_s: int = Field(
        default=3600, description="Blobs that no row names are removed after this, seconds."
    )
    body_limit_bytes: int = Field(
        default=8 << 20, description="Limit of an API request's body (uploads have their own), bytes."
    )
    allow_local_import: bool = Field(
        default=True,
        description="import_url may be a path on this machine, and includes may name private networks (administrators only).",
    )
    actions_url: str = Field(
        default="https://github.com",
        description="Where actions (`uses: owner/repo@ref`) are fetched from: an address or an absolute folder; empty: nowhere.",
    )
    actions_builtin: bool = Field(
        default=True,
        description="checkout, cache, upload-artifact and download-artifact are built in; false: the actions of that name run.",
    )
    templates: Path | None = Field(
        default=None,
        description="Folder whose files every project's `include: template` may name, before those that are built in.",
    )
    jobs_per_run: int = Field(default=2000, description="Most jobs one run may have.")
    needs_per_job: int = Field(
        default=50,
        ge=0,
        description="Most jobs that one job of a .gitlab-ci.yml may name in `needs` (GitLab's ci_needs_size_limit).",
    )

    @field_validator("data")
    @classmethod
    def _absolute(cls, data: Path) -> Path:
        """git and sandboxes are started from other folders; a relative path would name another place
        there."""
        return data.absolute()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _from_files, _Toml(settings_cls))  # type: ignore[return-value]
