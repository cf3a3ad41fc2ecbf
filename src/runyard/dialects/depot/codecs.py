"""Connect's two codecs, with a look at JSON's nesting before the decoder sees it. Called by routes.

protobuf-py 0.7 decodes an unknown or mistyped field by native recursion: 100,000 `[` overflow the stack and
the server process dies (measured; the binary decoder stops at 100 by itself). No Depot message nests deeper
than 4.
"""

from __future__ import annotations

import re
from typing import Any

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError

MAX_DEPTH = 32
# A string may be cut off by the end of the text: it still matches, so that no quote is looked at twice.
_MARKS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


class ShallowJson:
    """The JSON codec for documents of bounded nesting."""

    def __init__(self) -> None:
        self._codec: Codec[Any, Any] = proto_json_codec()

    def name(self) -> str:
        """`json`, as in the content type."""
        return self._codec.name()

    def encode(self, message: Any) -> bytes:
        """Ours is never deep."""
        return self._codec.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        """invalid_argument for a document that is nested too deeply, before it is parsed."""
        if depth(bytes(data)) > MAX_DEPTH:
            raise ConnectError(Code.INVALID_ARGUMENT, f"the JSON is nested deeper than {MAX_DEPTH} levels")
        return self._codec.decode(data, message_class)


def depth(data: bytes) -> int:
    """The deepest nesting of a JSON text; brackets in strings do not count."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return 0
    deepest = level = 0
    for mark in _MARKS.finditer(data):
        match mark.group()[:1]:
            case b"[" | b"{":
                level += 1
                deepest = max(deepest, level)
            case b"]" | b"}":
                level -= 1
    return deepest


def codecs() -> list[Codec[Any, Any]]:
    """For `codecs=` of a Connect application."""
    return [proto_binary_codec(), ShallowJson()]
