"""The well-known actions that are built in: their names, their inputs, and the params that a rendered `with`
becomes. Used by `builtins.py`, `acting` and (names and inputs only) by the compiler of Actions workflows.

Facts: the actions' own `action.yml` (checkout v4 to v7, cache v4 and v5, upload-artifact v4 to v7,
download-artifact v4 to v8).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from runyard.model.plan import StepKind
from runyard.syntax.actions import ActionError, Uses

Given = Mapping[str, str]
MAX_DEPTH = 1 << 30
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})(?::[0-9]{1,5})?\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


def kind_of(uses: Uses) -> StepKind | None:
    """The built-in step for an action, any version of it; None for others."""
    name = f"{uses.repository}/{uses.path}".rstrip("/").lower()
    found = WELL_KNOWN.get(name)
    return found[0] if found and uses.is_remote else None


def params(kind: StepKind, action: str, given: Given) -> dict[str, Any]:
    """Params of a built-in step (model.plan.StepPlan) from rendered inputs. ActionError for a value that
    makes no sense."""
    return _PARAMS[kind](action.rstrip("/"), {name.lower(): value.strip() for name, value in given.items()})


def _checkout(_: str, given: Given) -> dict[str, Any]:
    found: dict[str, Any] = {
        "depth": _number(given, "fetch-depth", 1),
        "clean": given.get("clean", "").lower() != "false",
        "strategy": "fetch",
    }
    for name in ("ref", "path", "repository", "submodules", "sparse-checkout", "token"):
        if given.get(name) and given[name].lower() != "false":
            found[name.replace("-", "_")] = given[name]
    if "sparse_checkout" in found:
        found["cone"] = given.get("sparse-checkout-cone-mode", "").lower() != "false"
    if _is_true(given, "lfs"):
        found["lfs"] = True
    if _is_true(given, "fetch-tags"):
        found["tags"] = True
    # So that scripts may fetch and push, as the action leaves it.
    found["remote"] = "plain" if given.get("persist-credentials", "").lower() == "false" else "with a token"
    if given.get("ssh-key"):
        found["ssh"] = {
            "key": given["ssh-key"],
            "known_hosts": given.get("ssh-known-hosts", ""),
            "strict": given.get("ssh-strict", "").lower() != "false",
        }
        if server := given.get("github-server-url"):
            found["ssh_url"] = _ssh_base(server, given.get("ssh-user") or "git")
    return found


def _ssh_base(server: str, user: str) -> str:
    """Where repositories of another server are, with a key."""
    host = urlsplit(server).netloc.rpartition("@")[2]
    if not _HOST.match(host) or not _USER.match(user):
        raise ActionError(
            f"checkout's inputs `github-server-url` and `ssh-user` must be an address and a name, not '{server[:80]}' and '{user[:80]}'"
        )
    return f"ssh://{user}@{host}"


def _upload(_: str, given: Given) -> dict[str, Any]:
    lines = [line.strip() for line in given.get("path", "").splitlines() if line.strip()]
    if not lines:
        raise ActionError("Input required and not supplied: path")
    when_none = given.get("if-no-files-found") or "warn"
    if when_none not in ("warn", "error", "ignore"):
        raise ActionError(
            f"Unexpected value '{when_none[:80]}' of if-no-files-found; expected warn, error or ignore"
        )
    found: dict[str, Any] = {
        "name": given.get("name") or "artifact",
        "paths": [line for line in lines if not line.startswith("!")],
        "exclude": [line[1:].strip() for line in lines if line.startswith("!")],
        "type": "archive",
        "format": "zip",
        # upload-artifact names files from the least folder that all of them are in.
        "root": "common",
        "overwrite": _is_true(given, "overwrite"),
        "hidden": _is_true(given, "include-hidden-files"),
        "if_no_files": when_none,
    }
    # 0 means the server's default, as at GitHub.
    if days := _number(given, "retention-days", 0):
        found["expire_in_s"] = days * 86400
    return found


def _download(_: str, given: Given) -> dict[str, Any]:
    if given.get("run-id") and not _is_number(given["run-id"]):
        raise ActionError(
            f"`run-id` must be a number (`github.run_id` of a run), not '{given['run-id'][:80]}'"
        )
    found: dict[str, Any] = {
        "from": "run",
        "path": given.get("path", ""),
        "merge_multiple": _is_true(given, "merge-multiple"),
    }
    for name in ("name", "pattern", "run-id", "repository", "github-token"):
        if given.get(name):
            found[name.replace("-", "_")] = given[name]
    if given.get("artifact-ids"):
        texts = [text.strip() for text in given["artifact-ids"].split(",") if text.strip()]
        if not all(_is_number(text) for text in texts):
            raise ActionError(
                f"Invalid artifact ID in '{given['artifact-ids'][:80]}': expected numbers with commas between them"
            )
        if "name" in found:
            raise ActionError(
                "Inputs 'name' and 'artifact-ids' cannot be used together. Please specify only one."
            )
        found["ids"] = [int(text) for text in texts]
    return found


def _cache(action: str, given: Given) -> dict[str, Any]:
    lines = [line.strip() for line in given.get("path", "").splitlines() if line.strip()]
    if not lines or not given.get("key"):
        raise ActionError(f"Input required and not supplied: {'key' if lines else 'path'}")
    return {
        "scoped": True,
        "key": given["key"],
        "fallback_keys": [
            line.strip() for line in given.get("restore-keys", "").splitlines() if line.strip()
        ],
        "paths": [line for line in lines if not line.startswith("!")],
        "exclude": [line[1:].strip() for line in lines if line.startswith("!")],
        "fail_on_miss": _is_true(given, "fail-on-cache-miss"),
        "lookup_only": _is_true(given, "lookup-only"),
        "save_later": action == "actions/cache",
        "cross_os": _is_true(given, "enablecrossosarchive"),
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _is_true(given: Given, name: str) -> bool:
    return given.get(name, "").lower() == "true"


def _number(given: Given, name: str, default: int) -> int:
    text = given.get(name, "")
    if not text:
        return default
    digits = text.removesuffix(".0")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise ActionError(f"`{name}` must be a number, not '{text[:80]}'")
    return int(digits)


_CHECKOUT = (
    "repository", "ref", "path", "fetch-depth", "clean", "token", "persist-credentials", "fetch-tags", "show-progress", "set-safe-directory", "filter",
    "github-server-url", "sparse-checkout", "sparse-checkout-cone-mode", "allow-unsafe-pr-checkout", "submodules", "lfs", "ssh-key", "ssh-known-hosts",
    "ssh-strict", "ssh-user",
)  # fmt: skip
_UPLOAD = (
    "name",
    "path",
    "if-no-files-found",
    "retention-days",
    "compression-level",
    "overwrite",
    "include-hidden-files",
    "archive",
)
_DOWNLOAD = (
    "name",
    "path",
    "pattern",
    "merge-multiple",
    "github-token",
    "artifact-ids",
    "run-id",
    "repository",
    "skip-decompress",
    "digest-mismatch",
)
_CACHE = (
    "path",
    "key",
    "restore-keys",
    "upload-chunk-size",
    "enablecrossosarchive",
    "fail-on-cache-miss",
    "lookup-only",
    "save-always",
)

WELL_KNOWN: Mapping[str, tuple[StepKind, frozenset[str]]] = {
    "actions/checkout": (StepKind.CHECKOUT, frozenset(_CHECKOUT)),
    "actions/upload-artifact": (StepKind.UPLOAD, frozenset(_UPLOAD)),
    "actions/download-artifact": (StepKind.DOWNLOAD, frozenset(_DOWNLOAD)),
    "actions/cache": (StepKind.CACHE_RESTORE, frozenset(_CACHE)),
    "actions/cache/restore": (StepKind.CACHE_RESTORE, frozenset(_CACHE)),
    "actions/cache/save": (StepKind.CACHE_SAVE, frozenset(_CACHE)),
}
_PARAMS: Mapping[StepKind, Callable[[str, Given], dict[str, Any]]] = {
    StepKind.CHECKOUT: _checkout,
    StepKind.UPLOAD: _upload,
    StepKind.DOWNLOAD: _download,
    StepKind.CACHE_RESTORE: _cache,
    StepKind.CACHE_SAVE: _cache,
}
