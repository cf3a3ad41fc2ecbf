"""What an attempt used of the machine, sampled while its processes ran: CPU and memory. Written by the
runner's meter, kept by the store in packed batches, read by doors that show it.

packed(samples) -> bytes · unpacked(data) -> samples
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

MOST_AT_ONCE = 100
_ROW = struct.Struct(">qiqq")
_NONE = -1


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `cpu` is the share of the cores the job may use since the look before (0 to 1), None at the
    first look; `memory_bytes` is what cannot be given back without harm (without the file cache that nobody
    uses), `limit_bytes` the most it may be; None: not known here."""

    at: int
    cpu: float | None = None
    memory_bytes: int | None = None
    limit_bytes: int | None = None

    @property
    def memory(self) -> float | None:
        """The share of the limit."""
        if self.memory_bytes is None or not self.limit_bytes:
            return None
        return min(1.0, self.memory_bytes / self.limit_bytes)


def packed(samples: Iterable[Sample]) -> bytes:
    """28 bytes each; the share of CPU to a hundred-thousandth."""
    return b"".join(
        _ROW.pack(
            one.at,
            _NONE if one.cpu is None else round(one.cpu * 100_000),
            _NONE if one.memory_bytes is None else one.memory_bytes,
            _NONE if one.limit_bytes is None else one.limit_bytes,
        )
        for one in samples
    )


def unpacked(data: bytes) -> list[Sample]:
    """What `packed` took."""
    return [
        Sample(
            at,
            None if cpu == _NONE else cpu / 100_000,
            None if memory == _NONE else memory,
            None if limit == _NONE else limit,
        )
        for at, cpu, memory, limit in _ROW.iter_unpack(data)
    ]
