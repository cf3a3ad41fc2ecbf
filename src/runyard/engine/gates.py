"""Gates: may this job start now? Pure; settle asks for every waiting job, claim asks for the facts about
needs.

Without an expression GitLab's table decides (contracts/gitlab.md §3.9); with one, an Actions `if` over the
job's context and `needs` (contracts/actions.md §3.7). A job never starts before all it looks at are done,
except past a manual job that may stay manual.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runyard.engine.flow import Flow, Node
from runyard.model.fold import COMPLETED, Word, composite
from runyard.model.plan import Order, When
from runyard.model.state import Outcome, Reason
from runyard.syntax.expressions import ExpressionError, Status, condition, condition_functions


class Answer(StrEnum):
    """What a gate says."""

    WAIT = "wait"
    GO = "go"
    SKIP = "skip"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer with the sentence for people."""

    answer: Answer
    message: str = ""


OWN_OUTPUT = "__"  # outputs that a plan keeps for itself begin so; dependants never see them
_NAMES_A_JOB = re.compile(r"(?i)(success|failure|cancelled)\s*\(\s*[^)\s]")
WAIT, GO, SKIP = Decision(Answer.WAIT), Decision(Answer.GO), Decision(Answer.SKIP)

_AFTER_STAGE: dict[When, frozenset[Word]] = {
    When.ON_SUCCESS: frozenset({Word.SUCCESS, Word.SKIPPED}),
    When.MANUAL: frozenset({Word.SUCCESS, Word.SKIPPED}),
    When.DELAYED: frozenset({Word.SUCCESS, Word.SKIPPED}),
    When.ON_FAILURE: frozenset({Word.FAILED, Word.ERRORED}),
    When.ALWAYS: frozenset({Word.SUCCESS, Word.SKIPPED, Word.FAILED, Word.ERRORED}),
}
_AFTER_NEEDS: dict[When, frozenset[Word]] = {
    When.ON_SUCCESS: frozenset({Word.SUCCESS}),
    When.MANUAL: frozenset({Word.SUCCESS}),
    When.DELAYED: frozenset({Word.SUCCESS}),
    When.ON_FAILURE: frozenset({Word.FAILED, Word.ERRORED}),
    When.ALWAYS: frozenset({Word.SUCCESS, Word.SKIPPED, Word.FAILED, Word.ERRORED}),
}


def decide(flow: Flow, node: Node) -> Decision:
    """The gate's answer for a waiting node."""
    gate = node.plan.gate
    if gate.expression is not None:
        return _by_expression(flow, node, gate.expression)
    if gate.order is Order.STAGE:
        return _by_table(composite(flow.before(node.plan.stage_index)), _AFTER_STAGE[gate.when])
    words = set()
    for needed in flow.needed(node):
        word = needed.word
        if not needed.is_done and word is not Word.IGNORED:
            return WAIT
        words.add(word)
    return _by_table(composite(frozenset(words), dag=True), _AFTER_NEEDS[gate.when])


def _by_table(word: Word, allowed: frozenset[Word]) -> Decision:
    if word not in COMPLETED:
        return WAIT
    return GO if word in allowed else SKIP


def _by_expression(flow: Flow, node: Node, text: str) -> Decision:
    if not all(needed.is_done for needed in flow.needed(node)):
        return WAIT
    if node.plan.gate.order is Order.STAGE and composite(flow.before(node.plan.stage_index)) not in COMPLETED:
        return WAIT
    context = {**node.plan.context, "needs": need_facts(flow, node)}
    try:
        return GO if condition(text, context, _status(flow, node, text)) else SKIP
    except ExpressionError as error:
        return Decision(Answer.BROKEN, f"The condition of this job cannot be evaluated: {error}")
    except (RecursionError, ValueError, TypeError, ArithmeticError) as error:
        # A stranger's text must never stop the settle of everyone else's jobs.
        return Decision(
            Answer.BROKEN, f"The condition of this job cannot be evaluated: {type(error).__name__}"
        )


def outlives(flow: Flow, node: Node) -> bool:
    """Whether an open job goes on although its workflow is canceled: its condition holds even so, or cannot
    be decided yet and may (GitHub)."""
    text = node.plan.gate.expression
    if text is None:
        return False
    try:
        if not condition_functions(text) & {"always", "cancelled"}:
            return False
    except ExpressionError:
        return False
    return _by_expression(flow, node, text).answer in (Answer.GO, Answer.WAIT)


def need_facts(flow: Flow, node: Node) -> dict[str, dict[str, Any]]:
    """`needs.<group>.{result,outputs}` with matrix legs brought together; of equal outputs the last non-empty
    leg's wins (GitHub's rule)."""
    facts: dict[str, dict[str, Any]] = {}
    for need in node.plan.needs:
        legs = flow.legs(need.group)
        outputs: dict[str, str] = {}
        for leg in legs:
            given = {k: v for k, v in leg.attempt.outputs.items() if not k.startswith(OWN_OUTPUT)}
            outputs.update({k: v for k, v in given.items() if v or k not in outputs})
        facts[need.told] = {"result": result_of(legs), "outputs": outputs}
    return facts


def result_of(legs: Sequence[Node]) -> str:
    """success, failure, cancelled or skipped for a group of legs; a tolerated failure counts as success."""
    results = {_result(leg) for leg in legs}
    if "failure" in results:
        return "failure"
    if "cancelled" in results:
        return "cancelled"
    return "skipped" if results == {"skipped"} else "success"


def _result(node: Node) -> str:
    if node.attempt.tolerated:
        return "success"
    match node.attempt.outcome:
        case Outcome.FAILED | Outcome.ERRORED:
            return "failure"
        case Outcome.CANCELED:
            return "cancelled"
        case Outcome.SKIPPED:
            return "skipped"
        case _:
            return "success"


def _status(flow: Flow, node: Node, text: str) -> Status:
    """success() and failure() look at every ancestor, cancelled() at the workflow and at ancestors that a
    person or a newer run canceled."""
    seen = _above(flow, node)
    return Status(
        success=not flow.is_canceled and not seen & {"failure", "cancelled", "skipped"},
        failure="failure" in seen,
        cancelled=flow.is_canceled or "ended by hand" in seen,
        results=_results(flow, node) if _NAMES_A_JOB.search(text) else {},
    )


def _above(flow: Flow, node: Node) -> frozenset[str]:
    """What happened anywhere above a node. Noted on the flow until it changes, so that a long chain costs its
    length, not its square."""
    found = flow.lineage
    open_ends = [node]
    while open_ends:
        current = open_ends[-1]
        legs = list(flow.needed(current))
        unknown = [leg for leg in legs if leg.job.id not in found]
        if unknown and current.job.id not in found:
            found[current.job.id] = frozenset()  # a place-holder, so that no circle is walked twice
            open_ends.extend(unknown)
            continue
        open_ends.pop()
        seen: set[str] = set()
        for leg in legs:
            seen |= found[leg.job.id] | {_result(leg)}
            if leg.attempt.reason in (Reason.BY_USER, Reason.SUPERSEDED):
                seen.add("ended by hand")
        found[current.job.id] = frozenset(seen)
    return found[node.job.id]


def _results(flow: Flow, node: Node) -> dict[str, str]:
    """Results of all ancestors by name, for `success('job')`."""
    results: dict[str, str] = {}
    seen: set[int] = {node.job.id}
    open_ends = [node]
    while open_ends:
        for need in open_ends.pop().plan.needs:
            legs = flow.legs(need.group)
            if legs:
                results[need.told] = result_of(legs)
            open_ends += [leg for leg in legs if leg.job.id not in seen]
            seen |= {leg.job.id for leg in legs}
    return results
