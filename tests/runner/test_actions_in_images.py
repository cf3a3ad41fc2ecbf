"""Docker actions on a real image: where things are, what is handed on, and what an image cannot do. The image
is made here."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from runyard.model.plan import Image, StepKind, StepPlan
from runyard.model.state import Outcome
from tests.runner.conftest import Yard, actions, sh
from tests.runner.test_images import image as image

WITH_USER = f"localhost/runyard-test-with-user:{os.getpid()}"


@pytest.fixture(scope="module")
def with_user(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, with somebody else than root as its user."""
    folder = tmp_path_factory.mktemp("with-user")
    (folder / "Containerfile").write_text(f"FROM {image}\nUSER app\n")
    subprocess.run(
        ["podman", "build", "--pull=never", "-t", WITH_USER, str(folder)], check=True, capture_output=True
    )
    yield WITH_USER
    subprocess.run(["podman", "image", "umount", WITH_USER], capture_output=True, check=False)
    subprocess.run(["podman", "rmi", "-f", WITH_USER], capture_output=True, check=False)


MANIFEST = """
name: in an image
inputs: {{word: {{default: none}}}}
outputs: {{said: {{}}}}
runs:
  using: docker
  image: docker://{image}
  entrypoint: /bin/sh
  args: ["-c", "echo [$INPUT_WORD] [${{{{ inputs.word }}}}] $MINE; pwd; cat /etc/image-release a.txt; echo said=$INPUT_WORD >> $GITHUB_OUTPUT; echo out > made; id -u; stat -c 'mine: %u %U' a.txt made /etc/passwd; ls /opt/new 2>&1; echo new > /opt/new && rm /etc/image-release"]
  env: {{MINE: "own-${{{{ inputs.word }}}}"}}
  post-entrypoint: /bin/cat
"""


def step(uses: str, key: str = "act", **given: str) -> StepPlan:
    return StepPlan(
        key,
        f"Run {uses}",
        kind=StepKind.ACTION,
        params={"uses": uses, "with": given},
        templated=True,
        commands=True,
    )


def test_an_action_in_an_image(yard: Yard, image: str) -> None:
    text = MANIFEST.format(image=image)
    write = f"mkdir act; cat > act/action.yml <<'X'\n{text}\nX\necho from the workspace > a.txt"
    attempt, log = yard.run(
        sh(write),
        step("./act", word="hi"),
        step("./act", "again"),
        actions(
            'echo "out=${{ steps.act.outputs.said }} $(cat made)"; stat -c "later: %u" made; rm made', "last"
        ),
    )
    assert attempt.outcome is Outcome.PASSED, log
    for line in (
        "[hi] [hi] own-hi",
        "/github/workspace",
        "from the image",
        "from the workspace",
        "out=hi out",
        "\n0\nmine: 0 root\nmine: 0 root\nmine: 0 root\n",
        "later: 1000",
    ):
        assert line in log, log
    assert log.count("from the image\n") == 2 == log.count("'/opt/new': No such file"), log


def test_an_image_with_a_user_of_its_own_may_work_on_the_jobs_files(
    yard: Yard, image: str, with_user: str
) -> None:
    look = "-c 'id -u; stat -c %U made; echo more >> made; (echo x > /opt/x) 2>/dev/null || echo [not root]'"
    attempt, log = yard.run(
        actions("echo one > made"),
        step(f"docker://{with_user}", entrypoint="/bin/sh", args=look),
        actions("stat -c %u made; cat made", "last"),
    )
    assert attempt.outcome is Outcome.PASSED, log
    assert "1234\napp\n[not root]\n" in log and "1000\none\nmore\n" in log, log


@pytest.mark.parametrize("user", ["", "app"])
def test_an_action_in_an_image_of_a_job_in_an_image(
    yard: Yard, image: str, with_user: str, user: str
) -> None:
    """Both see the workspace as their own, whoever they are."""
    look = "-c 'id -u; stat -c %U made; echo more >> made; echo own > /tmp/../opt/x; ls /home/app'"
    for name in (image, with_user):
        attempt, log = yard.run(
            sh("echo one > made; stat -c 'job: %U' made"),
            step(f"docker://{name}", entrypoint="/bin/sh", args=look),
            sh("cat made; stat -c 'then: %U' made; ls /opt", "last"),
            image=Image(image, user=user),
        )
        who = user or "root"
        assert attempt.outcome is Outcome.PASSED, log
        assert f"job: {who}\n" in log and f"one\nmore\nthen: {who}\nentry\n" in log, log


def test_an_image_as_a_step(yard: Yard, image: str) -> None:
    attempt, log = yard.run(
        step(
            f"docker://{image}", entrypoint="/bin/sh", args="-c 'echo \"$INPUT_X\" > made; exit 3'", x="$(id)"
        ),
        actions("cat made", "last", condition="always()"),
    )
    assert attempt.outcome is Outcome.FAILED and "\n$(id)\n" in log


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ("docker://localhost/runyard-none:1", "is not on this machine"),
        ("docker://--privileged", "is not the name of an image"),
    ],
)
def test_images_that_cannot_be_had(yard: Yard, uses: str, message: str) -> None:
    attempt, log = yard.run(step(uses))
    assert attempt.outcome is Outcome.FAILED and message in log


@pytest.mark.parametrize("place", ["$PWD", "$PWD.tmp"])
def test_a_folder_that_was_put_elsewhere_by_a_link_is_not_shown(
    yard: Yard, image: str, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    """The runner is root: whoever owned the link's target, the action's user would be that."""
    host = tmp_path_factory.mktemp("host")
    (host / "kept").write_text("of the host\n")
    host.chmod(0o700)
    look = "cat /github/workspace/kept /github/runner_temp/kept; touch /github/workspace/mine"
    attempt, log = yard.run(
        sh(f'moved="{place}"; cd /; mv "$moved" "$moved-moved" && ln -s {host} "$moved"'),
        step(f"docker://{image}", entrypoint="/bin/sh", args=f"-c '{look}'"),
    )
    assert attempt.outcome is not Outcome.PASSED, log
    assert "of the host" not in log and os.listdir(host) == ["kept"], log
