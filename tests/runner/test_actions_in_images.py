"""Docker actions on a real image: where things are, what is handed on, and what an image cannot do. The image is made here."""

from __future__ import annotations

import pytest

from runyard.model.plan import StepKind, StepPlan
from runyard.model.state import Outcome
from tests.runner.conftest import Yard, actions, sh
from tests.runner.test_images import image as image

MANIFEST = """
name: in an image
inputs: {{word: {{default: none}}}}
outputs: {{said: {{}}}}
runs:
  using: docker
  image: docker://{image}
  entrypoint: /bin/sh
  args: ["-c", "echo [$INPUT_WORD] [${{{{ inputs.word }}}}] $MINE; pwd; cat /etc/image-release a.txt; echo said=$INPUT_WORD >> $GITHUB_OUTPUT; echo out > made; touch /x || echo [read-only]; id -u"]
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
        actions('echo "out=${{ steps.act.outputs.said }} $(cat made)"', "last"),
    )
    assert attempt.outcome is Outcome.PASSED, log
    for line in (
        "[hi] [hi] own-hi",
        "/github/workspace",
        "from the image",
        "from the workspace",
        "out=hi out",
        "[read-only]",
        "\n1000\n",
    ):
        assert line in log, log


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
