"""Depot's `parallel:` and `retry:` of steps, services and environments: what compile makes of them, and what
it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from runyard.model.plan import EnvironmentUse, Image, JobPlan, Lane, StepRetry
from tests.dialects.depot.test_calls import plan, problems


def job(body: str) -> JobPlan:
    return plan({"ci.yml": f"on: push\njobs:\n  a:\n    runs-on: x\n{body}"})["a"]


def wrong(body: str) -> str:
    return problems({"ci.yml": f"on: push\njobs:\n  a:\n    runs-on: x\n{body}"})[0]


def test_lanes() -> None:
    steps = job(
        "    steps:\n      - {run: a}\n      - fail-fast: false\n        parallel:\n          - {run: b}\n          - {sequential: [{run: c}, {run: d}]}\n      - {run: e}\n"
    ).steps
    assert [(step.script, step.lane) for step in steps] == [
        ("a\n", None),
        ("b\n", Lane(1, 0, False)),
        ("c\n", Lane(1, 1, False)),
        ("d\n", Lane(1, 1, False)),
        ("e\n", None),
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("3", StepRetry(3)),
        ("{retries: 1, backoff: exponential}", StepRetry(1, exponential=True)),
        ("{retries: 10, delay-seconds: 0, max-delay-seconds: 9}", StepRetry(10, 0, max_delay_s=9)),
    ],
)
def test_retry(text: str, rule: StepRetry) -> None:
    (step,) = job(f"    steps: [{{run: x, retry: {text}}}]\n").steps
    assert step.retry == rule


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("[{run: x, retry: 11}]", "A number from 1 to 10 was expected"),
        ("[{run: x, retry: {backoff: constant}}]", "Required property is missing: retries"),
        ("[{run: x, retry: {retries: 1, backoff: odd}}]", "Unexpected value 'odd'"),
        ("[{uses: actions/checkout@v4, retry: 1}]", "Unexpected value 'retry'"),
        ("[{parallel: []}]", "`parallel` takes 1 to 16 steps"),
        ("[{parallel: [{parallel: [{run: x}]}]}]", "Parallel steps cannot be nested"),
        (
            "[{parallel: [{run: x, id: i}, {run: y, id: i}]}]",
            "The identifier 'i' may not be used more than once",
        ),
        ("[{parallel: [{run: x}], if: always()}]", "Unexpected value 'if'"),
    ],
)
def test_what_is_wrong_with_them(steps: str, said: str) -> None:
    assert said in wrong(f"    steps: {steps}\n")


def test_services_and_containers() -> None:
    made = job(
        "    container: {image: 'docker://debian:12', options: --user 1000 --cpus 2}\n"
        "    services:\n"
        "      db: {image: postgres, env: {P: '${{ secrets.P }}'}, ports: ['5432:5432'], options: '--health-cmd \"pg_isready -U a\" --health-interval=1m30s --health-timeout 500ms --health-retries 5 -e A=1 --network-alias pg'}\n"
        "      none: {image: ''}\n"
        "    steps: [{run: x}]\n"
    )
    assert made.image == Image("debian:12", options={"create": "--user 1000 --cpus 2"})
    (service,) = made.services
    assert (service.alias, service.env) == ("db", {"P": "${{ secrets.P }}"})
    assert service.options["ports"] == ["5432:5432"] and "-U a" in service.options["create"]
    assert made.steps[0].argv == ("sh", "-e", "{script}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "services: {db: {image: p, volumes: ['/:/host']}}",
            "`services.db.volumes`: Nothing of the runner's disk is shown",
        ),
        (
            "services: {db: {image: p, volumes: ['a1:/x']}, e: {image: p, options: '-v a1:/y'}}",
            "`services.e.options`: The volume 'a1' is not served in more than one place",
        ),
        ("container: {image: p, options: --raed-only}", "The option '--raed-only' is not served"),
        (
            "services: {db: {image: p, options: --privileged}}",
            "`services.db.options`: The option '--privileged' is not served: what it gives is more",
        ),
        (
            "container: {image: p, options: --cap-add=SYS_PTRACE}",
            "`container.options`: The capability 'SYS_PTRACE' is not served: it is more than a job may have",
        ),
        (
            "container: {image: p, options: '--add-host a:host-gateway'}",
            "is not served: a job may not reach its host",
        ),
        (
            "services: {db: {image: p, options: '--log-driver none --cpuset-cpus 0 --dns here'}}",
            "Unexpected value 'here' of --dns",
        ),
        (
            "services: {db: {image: p, options: '--volume /:/x'}}",
            "`services.db.options`: Nothing of the runner's disk is shown",
        ),
        ("container: {image: p, volumes: [x]}", "Unexpected value 'x' of volumes, expected an absolute path"),
        ("services: {db: {image: p, ports: [http]}}", "Unexpected value 'http'"),
        (
            "services: {db: {image: p, options: '--health-interval soon'}}",
            "Unexpected value 'soon' of --health-interval",
        ),
        (
            "services: {db: {image: p, options: '--health-retries 1s'}}",
            "Unexpected value '1s' of --health-retries",
        ),
        ("services: {db: {image: p, options: '\"x'}}", "`services.db.options`: The quotes do not match"),
    ],
)
def test_what_our_boxes_cannot_do_is_refused(text: str, said: str) -> None:
    assert said in wrong(f"    {text}\n    steps: [{{run: x}}]\n")


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("prod", EnvironmentUse("prod")),
        ("{name: 'to-${{ github.ref_name }}', url: 'https://x'}", EnvironmentUse("to-main", "https://x")),
        ("{name: p, url: '${{ steps.s.outputs.u }}'}", EnvironmentUse("p", "${__environment_url}")),
        ("''", None),
    ],
)
def test_environments(text: str, use: Any) -> None:
    assert job(f"    environment: {text}\n    steps: [{{run: x}}]\n").environment == use
