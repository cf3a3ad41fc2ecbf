"""Workflows that a person may start by hand: those that know `workflow_dispatch`, with its inputs. Called by
the dialect."""

from __future__ import annotations

from collections.abc import Sequence

from runyard.dialects.depot.compile import entries
from runyard.dialects.depot.workflow.document import InputDoc
from runyard.dialects.depot.workflow.findings import Findings
from runyard.dialects.depot.workflow.read import read
from runyard.model.offer import Field, Kind, Offer
from runyard.model.trigger import Files, Trigger

EVENT = "workflow_dispatch"
_KINDS = {"number": Kind.NUMBER, "boolean": Kind.SWITCH, "choice": Kind.CHOICE}


def offers(trigger: Trigger, files: Files) -> Sequence[Offer]:
    """One for each. A file that cannot be read has told its own push."""
    found = []
    for path in entries(files):
        doc = read(path, files.read(path) or b"", Findings())
        if doc is not None and EVENT in doc.triggers.events:
            options = {"event": EVENT, "workflow": path}
            fields = tuple(map(_field, doc.triggers.inputs.values()))
            found.append(Offer(path, EVENT, doc.name, options, fields))
    return found


def _field(doc: InputDoc) -> Field:
    kind = _KINDS.get(doc.type, Kind.TEXT)
    default = doc.default.value if doc.default is not None else ""
    return Field(doc.name, kind, default, doc.description, doc.options, doc.required)
