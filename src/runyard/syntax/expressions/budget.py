"""What one evaluation may cost; every loop and every string of the evaluator asks here first."""

from __future__ import annotations

from runyard.syntax.expressions.errors import (
    MAX_OUTPUT_BYTES,
    MAX_STEPS,
    MAX_TOTAL_BYTES,
    ExpressionError,
)


class Budget:
    """Counts down steps and bytes of one evaluation; raises when either is spent."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._bytes = MAX_TOTAL_BYTES

    def spend(self, steps: int, offset: int) -> None:
        """Pay for nodes or members visited."""
        self._steps -= steps
        if self._steps < 0:
            raise ExpressionError(f"The expression needs more than {MAX_STEPS} steps", offset)

    def reserve(self, size: int, offset: int) -> None:
        """Refuse a string of at least `size` bytes before it is built."""
        if size > MAX_OUTPUT_BYTES:
            raise ExpressionError(
                f"The expression makes a text of more than {MAX_OUTPUT_BYTES} bytes", offset
            )
        if size > self._bytes:
            raise ExpressionError(f"The expression makes more than {MAX_TOTAL_BYTES} bytes of text", offset)

    def made(self, text: str, offset: int) -> str:
        """Account for a string that was built and give it back."""
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.reserve(size, offset)
        self._bytes -= size
        return text
