"""Groups, members, environments and deployments; variables of groups. Namespaces get rows from the paths of
the projects there are.

Until now every person could see every project; from here on members decide, so an administrator adds them
after the upgrade. Called by Alembic.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    bind = op.get_bind()
    for statement in (
        Path(__file__).with_name(f"0002_access.{bind.dialect.name}.sql").read_text().split(";\n")
    ):
        if statement.strip():
            op.execute(statement)
    born: dict[str, tuple[str, int]] = {}
    for path, created_at in bind.execute(sa.text("SELECT path, created_at FROM projects ORDER BY id")):
        group = str(path).rpartition("/")[0]
        while group:
            born.setdefault(group.lower(), (group, int(created_at)))
            group = group.rpartition("/")[0]
    add = sa.text(
        "INSERT INTO groups (path, name, visibility, created_at, extra) VALUES (:path, :name, 'private', :at, '{}')"
    )
    for path, at in sorted(born.values()):
        bind.execute(add, {"path": path, "name": path.rpartition("/")[2], "at": at})


def downgrade() -> None:
    raise NotImplementedError("Restore a backup instead.")
