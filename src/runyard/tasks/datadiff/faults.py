"""CouldNot: why a comparison could not be made, in Datafold's `error_type` words. Raised everywhere here,
caught by the two programs."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """`error_type` of a failed diff (contracts/datafold.md §3.3)."""

    NO_TABLE = "NoSuchTableException"
    NO_COLUMN = "NoSuchColumnException"
    NO_KEY = "PrimaryKeyNotSetException"
    KEY_TYPES = "KeyTypesDifferException"
    BAD_SPEC = "BadRequestException"
    CONNECTION = "ConnectionException"
    QUERY = "QueryException"
    TIMEOUT = "TimeoutException"
    MEMORY = "OutOfMemoryException"
    INTERNAL = "InternalException"  # ours: the program broke


class CouldNot(Exception):
    """The comparison was not made; `message` is one sentence for people, free of credentials."""

    def __init__(self, fault: Fault, message: str, *, retryable: bool = False) -> None:
        self.fault = fault
        self.message = message
        self.retryable = retryable
        super().__init__(message)
