"""What a step's `uses` becomes: a built-in step of the runner for the well-known actions (when the operator
has them built in), else an action that the runner fetches and expands. Called by `steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runyard.dialects.depot.workflow.findings import Findings, nearest
from runyard.dialects.depot.workflow.nodes import Text
from runyard.model.plan import StepKind
from runyard.runner.actions.inputs import WELL_KNOWN, params
from runyard.syntax.actions import ActionError, parse_uses


def planned(
    findings: Findings, uses: Text, inputs: Mapping[str, Text], *, builtin: bool
) -> dict[str, Any] | None:
    """Kind and params of the step; None, with a finding, when `uses` names nothing. Values stay templates."""
    try:
        parsed = parse_uses(uses.value)
    except ActionError as error:
        findings.error(uses.at, str(error))
        return None
    given = {name: text.value for name, text in inputs.items()}
    action = f"{parsed.repository}/{parsed.path}".rstrip("/").lower()
    if builtin and parsed.is_remote and action in WELL_KNOWN:
        kind, known = WELL_KNOWN[action]
        _check(findings, kind, known, action, inputs, uses)
        return {"kind": kind, "params": {"action": action, "with": given}}
    return {"kind": StepKind.ACTION, "params": {"uses": parsed.text, "with": given}}


def _check(
    findings: Findings,
    kind: StepKind,
    known: frozenset[str],
    action: str,
    inputs: Mapping[str, Text],
    uses: Text,
) -> None:
    """Unknown inputs are warnings, as at the vendor's; a value that makes no sense is an error where it
    stands."""
    for name, text in inputs.items():
        if name not in known:
            findings.warning(text.at, f"Unexpected input '{name}'", nearest(name, known))
    # A value that is not known yet stands in as one that suits every input.
    sample = {name: "1" if text.is_late else text.value for name, text in inputs.items()}
    try:
        params(kind, action, sample)
    except ActionError as error:
        at = next((text.at for name, text in inputs.items() if f"`{name}`" in str(error)), uses.at)
        findings.error(at, str(error))
