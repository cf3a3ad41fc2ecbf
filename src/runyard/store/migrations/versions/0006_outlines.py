"""Attempts carry what lists show of their job's plan, so that lists need not read plans. Called by
Alembic."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BATCH = 1000
SOME = sa.text("SELECT id, name, plan FROM jobs WHERE id > :last ORDER BY id LIMIT :batch")
FILL = sa.text("UPDATE attempts SET outline = :outline WHERE job_id = :id")


def upgrade() -> None:
    op.execute("ALTER TABLE attempts ADD COLUMN outline TEXT")
    bind = op.get_bind()
    last = 0
    while rows := bind.execute(SOME, {"last": last, "batch": BATCH}).fetchall():
        bind.execute(
            FILL, [{"id": id, "outline": outline(name, json.loads(plan))} for id, name, plan in rows]
        )
        last = rows[-1][0]


def outline(name: str, plan: dict[str, Any]) -> str:
    """Name, stage, whether it may fail, tags, whether its work is another run."""
    shown = [name, plan.get("stage", ""), plan.get("allow_failure", False), plan.get("tags", [])]
    return json.dumps([*shown, plan.get("bridge") is not None], ensure_ascii=False, separators=(",", ":"))


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
