"""A cache that two runners share: over S3 as moto's server speaks it, and in a shared folder. What cannot be
reached costs no job."""

from __future__ import annotations

import random
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from runyard.model.errors import Invalid
from runyard.model.plan import StepKind, StepPlan
from runyard.model.state import Outcome
from runyard.runner.artifacts import choose
from runyard.runner.cache import CacheKeyError, open_cache
from tests.blobs.test_conformance import s3_endpoint
from tests.runner.conftest import Yard, sh

__all__ = ["s3_endpoint"]


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    endpoint = request.getfixturevalue("s3_endpoint")
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"c{random.randrange(1 << 40)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}/caches"


def filled(folder: Path, text: str) -> Path:
    (folder / "vendor").mkdir(parents=True)
    (folder / "vendor" / "lib.txt").write_text(text)
    (folder / "vendor" / "big.bin").write_bytes(random.Random(1).randbytes(20 << 20))
    return folder


def test_what_one_runner_saves_another_restores(url: str, tmp_path: Path) -> None:
    one, two = open_cache(url, tmp_path / "one"), open_cache(url, tmp_path / "two")
    root = filled(tmp_path / "root", "first")
    assert one.restore(7, False, ["deps"], tmp_path, None) is None
    assert one.save(7, False, "deps", root, choose(root, ["vendor"])) > 20 << 20
    (tmp_path / "into").mkdir()
    assert two.restore(7, False, ["newer", "deps"], tmp_path / "into", None) == "deps"
    assert (tmp_path / "into" / "vendor" / "lib.txt").read_text() == "first"
    assert (tmp_path / "into" / "vendor" / "big.bin").stat().st_size == 20 << 20
    for project, protected in (
        (8, False),
        (7, True),
    ):  # neither another project nor a protected branch gets it
        assert two.restore(project, protected, ["deps"], tmp_path / "into", None) is None
    (root / "vendor" / "lib.txt").write_text("second")
    two.save(7, False, "deps", root, choose(root, ["vendor/lib.txt"]))
    (tmp_path / "again").mkdir()
    assert one.restore(7, False, ["deps"], tmp_path / "again", None) == "deps"
    assert (tmp_path / "again" / "vendor" / "lib.txt").read_text() == "second"
    assert not [p for p in (tmp_path / "one").rglob("*") if p.is_file()], "nothing of it stays on the runner"
    with pytest.raises(CacheKeyError):
        one.save(7, False, "a\nb", root, choose(root, ["vendor"]))


def test_a_store_that_is_away_costs_no_job(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    params: dict[str, Any] = {"key": "deps", "paths": ["made"]}
    assert yard.loop is not None
    monkeypatch.setattr(
        "runyard.runner.bucket.timedelta", lambda **_: __import__("datetime").timedelta(seconds=1)
    )
    away = open_cache("s3://nowhere/x", tmp_path / "away")
    means = yard.loop._means
    object.__setattr__(means, "cache", away)
    restore = StepPlan("r", "r", StepKind.CACHE_RESTORE, params=params, continue_on_error=True)
    save = StepPlan("s", "s", StepKind.CACHE_SAVE, params=params, continue_on_error=True)
    attempt, log = yard.run(restore, sh("echo made > made"), save)
    assert attempt.outcome is Outcome.PASSED and "cache's store" in log


def test_an_address_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        open_cache("ftp://nowhere/x", tmp_path)
