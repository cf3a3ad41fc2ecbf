"""HTTP/2 calls that were answered before their client had finished speaking. Used by `second` once its first
client is there."""

from __future__ import annotations

from contextlib import suppress

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event
from h2.exceptions import ProtocolError
from hypercorn.protocol.h2 import H2Protocol


class Http2(H2Protocol):
    """hypercorn's, except that late bytes of an answered call are dropped and the client is told to stop.

    It (0.18, its issue 329) meets them with a KeyError, which ends the connection and every terminal and log
    stream on it.
    """

    async def _handle_events(self, events: list[Event]) -> None:
        # One by one: what comes before may end the call that the next one belongs to.
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                with suppress(ProtocolError):  # the client has ended it by now
                    self.connection.reset_stream(event.stream_id, ErrorCodes.NO_ERROR)
            else:
                await super()._handle_events([event])
        await self._flush()
