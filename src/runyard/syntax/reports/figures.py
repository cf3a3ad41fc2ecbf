"""Reports that tell figures and lists: plans of Terraform, metrics, load tests, page loads, parts of a
product, links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, field

from runyard.syntax.reports.members import read_json
from runyard.syntax.reports.told import ROWS, Told, cell, counted, table

_METRIC = re.compile(r"([A-Za-z_:][A-Za-z0-9_:.]*(?:\{.{0,2000}?\})?)\s+(\S{1,50})(?:\s+\S{1,30})?\Z")
METRICS = 20_000


class Changes(Struct):
    """What GitLab's helper leaves of a plan: all three numbers must be there."""

    create: int
    update: int
    delete: int


def terraform(files: Sequence[bytes]) -> Told:
    """As `terraform plan` puts it."""
    plans = [read_json(file, Changes) for file in files]
    made, changed, gone = (sum(getattr(p, key) for p in plans) for key in ("create", "update", "delete"))
    return Told(f"Terraform: {made:,} to add, {changed:,} to change, {gone:,} to destroy")


def metrics(files: Sequence[bytes]) -> Told:
    """Lines of OpenMetrics: a name, perhaps labels, a value; comments are skipped."""
    rows: list[tuple[str, str]] = []
    for line in b"\n".join(files).decode("utf-8", "replace").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _METRIC.match(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a metric: a name and a value are")
        rows.append((match[1], match[2]))
        if len(rows) > METRICS:
            raise ValueError(f"more than {METRICS} metrics")
    return table(counted(len(rows), "metric"), ("Metric", "Value"), rows)


class LoadTest(Struct):
    """k6's summary export; figures of a metric lie in it or, in newer ones, under `values`."""

    metrics: dict[str, dict[str, Any]]


LOAD = (
    ("Requests per second", "http_reqs", "rate", ""),
    ("Waiting for the first byte, p(90)", "http_req_waiting", "p(90)", " ms"),
    ("Waiting for the first byte, p(95)", "http_req_waiting", "p(95)", " ms"),
    ("Request duration, average", "http_req_duration", "avg", " ms"),
    ("Request duration, p(95)", "http_req_duration", "p(95)", " ms"),
    ("Checks passed", "checks", "passes", ""),
    ("Checks failed", "checks", "fails", ""),
)


def load_performance(files: Sequence[bytes]) -> Told:
    """The figures that GitLab's own widget shows, and the duration."""
    rows = []
    for file in files:
        found = read_json(file, LoadTest).metrics
        for label, name, key, unit in LOAD:
            values = found.get(name, {})
            inner = values.get("values")
            value = (inner if isinstance(inner, dict) else values).get(key)
            if isinstance(value, int | float):
                rows.append((label, f"{value:,.2f}".removesuffix(".00") + unit))
    return table("Load test", ("Figure", "Value"), rows)


class Measure(Struct):
    """One figure of a page."""

    name: str
    value: Any = None


class Page(Struct):
    """One address that was loaded."""

    subject: str
    metrics: list[Measure] = field(default_factory=list)


def browser_performance(files: Sequence[bytes]) -> Told:
    """sitespeed.io through GitLab's plugin: by page and figure."""
    pages = [page for file in files for page in read_json(file, list[Page])]
    rows = [(page.subject, one.name, one.value) for page in pages for one in page.metrics]
    return table(f"Browser performance of {counted(len(pages), 'page')}", ("Page", "Figure", "Value"), rows)


class Component(Struct):
    """A part of a product."""

    name: str
    version: str = ""
    purl: str = ""


class Bom(Struct):
    """CycloneDX; only this format is a bill of materials for GitLab."""

    bomFormat: str
    specVersion: str
    components: list[Component] = field(default_factory=list)


def cyclonedx(files: Sequence[bytes]) -> Told:
    """A software bill of materials."""
    boms = [read_json(file, Bom) for file in files]
    if any(bom.bomFormat != "CycloneDX" for bom in boms):
        raise ValueError("its bomFormat is not CycloneDX")
    parts = [part for bom in boms for part in bom.components]
    rows = ((part.name, part.version, part.purl) for part in parts)
    return table(counted(len(parts), "component"), ("Component", "Version", "Package URL"), rows)


class License(Struct):
    """A license that something here is under."""

    id: str = ""
    name: str = ""


class Licenses(Struct):
    """A license scanning report, version 2."""

    licenses: list[License]


def licenses(files: Sequence[bytes]) -> Told:
    """Their names."""
    found = [one for file in files for one in read_json(file, Licenses).licenses]
    return table(counted(len(found), "license"), ("License",), ((one.name or one.id,) for one in found))


class Link(Struct):
    """`external_link` of an annotation."""

    label: str
    url: str


class Annotation(Struct):
    """The only kind that GitLab knows."""

    external_link: Link


def links(files: Sequence[bytes]) -> Told:
    """Links that the job gives its readers: `{"any title": [{"external_link": {"label": …, "url": …}}]}`."""
    found = [
        one.external_link
        for file in files
        for some in read_json(file, dict[str, list[Annotation]]).values()
        for one in some
    ]
    odd = [link for link in found if not link.url.startswith(("http://", "https://")) or len(link.url) > 2000]
    if odd:
        raise ValueError(f"{odd[0].url[:100]!r} is not a web address")
    shown = tuple((cell(link.label), link.url) for link in found[:ROWS])
    return Told(counted(len(found), "link"), links=shown, left_out=max(0, len(found) - ROWS))
