"""Docker actions that bring a Dockerfile: their images are built here, RUN in a box. The base image is made
here; no registry takes part."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runyard.model.state import Outcome, Reason
from runyard.model.work import Attempt
from runyard.runner.sandbox import building
from tests.runner.conftest import Yard, actions, sh
from tests.runner.test_actions_in_images import step
from tests.runner.test_images import image as image

ACTION = 'name: built\ninputs: {word: {default: none}}\nruns: {using: docker, image: Dockerfile, args: ["${{ inputs.word }}"]}'
pytestmark = pytest.mark.root


@pytest.fixture
def yard(make_yard: Callable[..., Yard]) -> Yard:
    """What is built does not depend on how the runner speaks to its server."""
    return make_yard()


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The ids of all images that the test makes on the way; at the end none of them is left."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED: images are built by root")
    ids: list[str] = []
    for name in ("arranged", "imported"):
        monkeypatch.setattr(building, name, _noting(getattr(building, name), ids))
    monkeypatch.setattr(building, "NAME", f"localhost/runyard-test-built-{os.getpid()}")
    yield ids
    listed = [
        "podman",
        "images",
        "--filter",
        f"reference={building.NAME}",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ]
    named = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    building.dropped(named)
    assert [ident for ident in ids if building.ident(ident)] == []


def _noting(make: Callable[..., str], ids: list[str]) -> Callable[..., str]:
    def made(*given: Any) -> str:
        ids.append(make(*given))
        return ids[-1]

    return made


def _build(yard: Yard, text: str, *more: str, **given: str) -> tuple[Attempt, str]:
    write = f"mkdir -p act; cat > act/action.yml <<'X'\n{ACTION}\nX\ncat > act/Dockerfile <<'Y'\n{text}\nY\n"
    return yard.run(
        sh("\n".join([write, *more])), step("./act", **given), actions("cat made", "last"), timeout_s=120
    )


def _ran(yard: Yard, text: str, *more: str, **given: str) -> str:
    attempt, log = _build(yard, text, *more, **given)
    assert attempt.outcome is Outcome.PASSED, log
    return log


WHOLE = """# syntax=docker/dockerfile:1
ARG BASE={image}
FROM $BASE AS tools
ARG WORD="one two"
ENV SAID="$WORD!" PRICE='5$'
RUN mkdir -p /out && echo "$SAID $PRICE" > /out/word && \\
    # a comment in between
    id -u > /out/uid
FROM ${{BASE}}
LABEL who=me
WORKDIR /app
COPY --from=tools /out /app/out
COPY entry data/*.txt /app/
RUN cat /tmp/mine 2>/dev/null; cp entry /tmp/kept && chmod 755 entry && rm /opt/entry
RUN <<EOF
cat /tmp/kept > /app/again
ls -la / > /app/listed
EOF
ENV LATE=late
ENTRYPOINT ["/app/entry", "first"]
CMD ["ignored"]
"""
ENTRY = """mkdir -p act/data; echo text > act/data/a.txt; cat > act/entry <<'Z'
#!/bin/sh
echo "args=$*"; cat /app/out/word /app/out/uid /app/a.txt; ls /opt/entry 2>&1; echo "[$LATE $SAID $PRICE]"
cat /app/again | grep -c args; echo from the action > made
Z
"""


def test_a_dockerfile_is_built_and_run(yard: Yard, image: str) -> None:
    log = _ran(yard, WHOLE.format(image=image), ENTRY, word="a b")
    for line in (
        "args=first a b",
        "one two! 5$",
        "\n0\n",
        "\ntext\n",
        "No such file",
        "[late  ]",
        "\n2\n",
        "from the action",
    ):
        assert line in log, (line, log)


def test_what_was_built_is_kept_by_content(yard: Yard, image: str) -> None:
    mark = uuid.uuid4().hex
    text = f'FROM {image}\nCOPY entry /e\nRUN chmod 755 /e; echo {mark}\nENTRYPOINT ["/e"]'
    entry = "printf '#!/bin/sh\\necho ran > made\\n' > act/entry"
    assert "was built before" not in _ran(yard, text, entry)
    assert "was built before" in _ran(yard, text, entry)
    assert "was built before" not in _ran(yard, text, entry + "; echo '# more' >> act/entry")


def test_a_build_sees_nothing_of_the_job_or_the_machine(yard: Yard, image: str) -> None:
    look = "env; id -u; ls /builds /work /var/lib/containers 2>&1; echo 1 > /proc/sys/kernel/hostname; cat /proc/self/uid_map"
    text = f'FROM {image}\nRUN {look} || true\nENTRYPOINT ["/bin/sh", "-c", "echo done > made"]'
    attempt, log = yard.run(
        sh(f"mkdir act; cat > act/Dockerfile <<'Y'\n{text}\nY\n"),
        step("./act"),
        variables=_secret(),
        timeout_s=120,
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "OF_THE_JOB" not in log and "GITHUB" not in log.partition("RUN env")[2] and "hidden" not in log
    assert "hostname: Read-only" in log or "hostname: Permission" in log or "nonexistent" in log, log


def _secret() -> Any:
    from runyard.model.plan import Variable

    return (Variable("OF_THE_JOB", "hidden-word"),)


def test_a_run_that_fails_fails_the_step(yard: Yard, image: str) -> None:
    attempt, log = _build(yard, f"FROM {image}\nRUN echo so far && exit 7\nRUN echo never")
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILED, Reason.SCRIPT)
    assert (
        "so far" in log and "./act/Dockerfile:2: RUN ended with exit code 7" in log and "\nnever" not in log
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "FROM localhost/runyard-none:1",
            "Dockerfile:1: the image localhost/runyard-none:1 is not on this machine",
        ),
        ("FROM {image}\nADD https://example.invalid/x /x", "Dockerfile:2: ADD of an address is not served"),
        ("FROM {image}\nARG U=https://example.invalid/x\nADD $U /x", "dial"),
        ("FROM {image}\nCOPY ../../../../etc/passwd /x", "etc/passwd"),
        ("FROM {image}\nCOPY link /x", "link"),
    ],
)
def test_what_cannot_be_built_is_said(yard: Yard, image: str, text: str, message: str) -> None:
    """Nothing outside of the action's folder can be copied, nothing is fetched with the runner's own
    rights."""
    attempt, log = _build(yard, text.format(image=image), "ln -s /etc/shadow act/link")
    assert attempt.outcome is Outcome.FAILED and message in log, log
    assert "root:" not in log


def test_what_a_base_would_run_by_itself_does_not(yard: Yard, image: str) -> None:
    """It would run outside of any box."""
    name = f"localhost/runyard-test-triggers:{os.getpid()}"
    made = ["podman", "build", "-q", "--format=docker", "--pull=never", "-t", name, "-"]
    triggers = f"FROM {image}\nONBUILD RUN echo $((40 + 2)) > /evil"
    subprocess.run(made, input=triggers.encode(), check=True, capture_output=True)
    try:
        attempt, log = _build(yard, f'FROM {name}\nENV A=b\nENTRYPOINT ["/bin/cat", "/evil"]')
    finally:
        subprocess.run(["podman", "rmi", "-f", name], capture_output=True, check=False)
    assert attempt.outcome is Outcome.FAILED and "/bin/false" in log and "\n42\n" not in log, log
