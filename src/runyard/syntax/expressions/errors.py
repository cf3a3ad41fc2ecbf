"""The one error of the expression language, and the budgets that raise it.

Raised by the lexer, the parser and the evaluator; callers turn it into a located problem of their file.
Messages name tokens of the expression's own text, never a value out of a context: a value may be a secret.
"""

from __future__ import annotations

MAX_LENGTH = 21_000
"""Characters of one expression (actions/runner: `ExpressionConstants.MaxLength`)."""

MAX_DEPTH = 50
"""Nesting of the parse tree and of parentheses (actions/runner: `ExpressionConstants.MaxDepth`)."""

MAX_OUTPUT_BYTES = 1024 * 1024
"""One string that an evaluation makes, in UTF-8."""

MAX_TOTAL_BYTES = 8 * 1024 * 1024
"""All strings that one evaluation makes together."""

MAX_STEPS = 200_000
"""Nodes evaluated plus members visited by one evaluation."""

MAX_JSON_DEPTH = 64
"""Nesting of a document given to fromJSON or made by toJSON."""


class ExpressionError(Exception):
    """An expression that cannot be read or evaluated; `offset` counts characters from the text's start."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset

    def moved(self, by: int) -> ExpressionError:
        """The same error seen from a text in which the expression starts `by` characters later."""
        return ExpressionError(self.message, self.offset + by)
