"""Gates: may this job start now? Pure; settle asks for every waiting job, claim asks for the facts about needs.

Without an expression GitLab's table decides (contracts/gitlab.md §3.9); with one, an Actions `if` over the job's context and `needs`
(contracts/actions.md §3.7). A job never starts before all it looks at are done, except past a manual job that may stay manual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runyard.engine.board import Flow, Node
from runyard.model.fold import COMPLETED, Word, composite
from runyard.model.plan import Order, When
from runyard.model.state import Outcome, Reason
from runyard.syntax.expressions import ExpressionError, Status, condition


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
        return GO if condition(text, context, _status(flow, node)) else SKIP
    except ExpressionError as error:
        return Decision(Answer.BROKEN, f"The condition of this job cannot be evaluated: {error}")
    except (RecursionError, ValueError, TypeError, ArithmeticError) as error:
        # A stranger's text must never stop the settle of everyone else's jobs.
        return Decision(
            Answer.BROKEN, f"The condition of this job cannot be evaluated: {type(error).__name__}"
        )


def need_facts(flow: Flow, node: Node) -> dict[str, dict[str, Any]]:
    """`needs.<group>.{result,outputs}` with matrix legs brought together; of equal outputs the last non-empty leg's wins (GitHub's rule)."""
    facts: dict[str, dict[str, Any]] = {}
    for need in node.plan.needs:
        legs = flow.legs(need.group)
        outputs: dict[str, str] = {}
        for leg in legs:
            outputs.update({k: v for k, v in leg.attempt.outputs.items() if v or k not in outputs})
        facts[need.group] = {"result": result_of(legs), "outputs": outputs}
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


def _status(flow: Flow, node: Node) -> Status:
    """success() and failure() look at every ancestor, cancelled() at ancestors that a person or a newer run canceled."""
    results: dict[str, str] = {}
    canceled = False
    seen: set[int] = {id(node)}
    open_ends = [node]
    while open_ends:
        current = open_ends.pop()
        for need in current.plan.needs:
            legs = flow.legs(need.group)
            if legs:
                results[need.group] = result_of(legs)
            for leg in legs:
                if id(leg) not in seen:
                    seen.add(id(leg))
                    open_ends.append(leg)
                    canceled |= leg.attempt.reason in (Reason.BY_USER, Reason.SUPERSEDED)
    values: Mapping[str, str] = results
    return Status(
        success=all(r == "success" for r in values.values()),
        failure="failure" in values.values(),
        cancelled=canceled,
        results=values,
    )
