"""What `git push -o merge_request.…` wishes (GitLab: doc/topics/git/commit, "push options for merge
requests"). Called by merging when a branch was pushed.

`create` makes a merge request where none is open from the branch to the target, and changes that one
otherwise; without it the other options change all open ones of the branch. `auto_merge` and `target_project`
have no meaning here: nothing merges by itself, and there are no forks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PREFIX = "merge_request."
MOST_LABELS = 50
TITLE_CHARS = 255
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Of one push. None and empty: not asked for."""

    create: bool = False
    target: str = ""
    title: str = ""
    description: str | None = None
    draft: bool = False
    squash: bool = False
    labels: tuple[str, ...] = ()
    unlabels: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Sequence[str]) -> Wishes | None:
        """None: the push says nothing of merge requests."""
        mine = [o.removeprefix(PREFIX) for o in options if o.startswith(PREFIX)]
        if not mine:
            return None
        pairs = [(key, value) for key, _, value in (one.partition("=") for one in mine)]
        last = dict(pairs)
        text = last.get("description")
        return cls(
            create="create" in last,
            target=last.get("target", ""),
            title=last.get("title", "")[:TITLE_CHARS],
            description=None if text is None else text.replace("\\n", "\n"),
            draft="draft" in last,
            squash="squash" in last,
            labels=tuple(value for key, value in pairs if key == "label" and value),
            unlabels=tuple(value for key, value in pairs if key == "unlabel"),
        )

    def applied(self, data: Mapping[str, Any]) -> Facts:
        """A merge request's facts as the push wants them."""
        labels = dict.fromkeys([*data["labels"], *self.labels])
        title = self.title or data["title"]
        if self.draft and not data["draft"] and not title.lower().startswith("draft:"):
            title = f"Draft: {title}"[:TITLE_CHARS]
        return {
            **data,
            "title": title,
            "draft": data["draft"] or self.draft or title.lower().startswith("draft:"),
            "description": data["description"] if self.description is None else self.description,
            "squash": data["squash"] or self.squash,
            "target_branch": self.target or data["target_branch"],
            "labels": [label for label in labels if label not in self.unlabels][:MOST_LABELS],
        }
