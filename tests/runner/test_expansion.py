"""The last expansion of a GitLab job's variables: what only the runner knows, unknown names, dollars."""

from __future__ import annotations

from typing import Any

from runyard.model.plan import StepPlan, Variable

SHOW = 'printf "%s\\n" "dir=$DIR" "un=[$UN]" "lit=$LIT" "raw=$RAW" "cert=$(cat "$CERT2")" "path=$MORE" "secret=$TOKEN"'


def test_a_stock_job_sees_final_values(yard: Any) -> None:
    step = StepPlan("script", "script", argv=("sh", "-e", "{script}"), script=SHOW)
    variables = (
        Variable("DIR", "$CI_PROJECT_DIR/out"),
        Variable("UN", "x$UNSET_NAME"),
        Variable("LIT", "a$$b"),
        Variable("RAW", "$CI_PROJECT_DIR $$", raw=True),
        Variable("CERT", "inside", file=True),
        Variable("CERT2", "$CERT"),
        Variable("MORE", "/x:$PATH"),
        Variable("TOKEN", "hush$$hush", masked=True),
    )
    _, log = yard.run(step, variables=variables, stock=True)
    assert "dir=/" in log
    assert "/out\n" in log
    assert "un=[x]\n" in log
    assert "lit=a$b\n" in log
    assert "raw=$CI_PROJECT_DIR $$\n" in log
    assert "cert=inside\n" in log
    assert "path=/x:/" in log
    assert "secret=[MASKED]\n" in log


def test_other_dialects_values_stay_as_they_are(yard: Any) -> None:
    step = StepPlan("script", "script", argv=("sh", "-e", "{script}"), script='printf "%s\\n" "v=$V"')
    _, log = yard.run(step, variables=(Variable("V", "$CI_PROJECT_DIR$$", raw=True),))
    assert "v=$CI_PROJECT_DIR$$\n" in log
