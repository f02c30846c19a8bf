"""Which programs may still work with the ledger.

Why: daemons of the version before run on while a new one migrates. They look here whether what was changed concerns
them: a migration that only adds says so (IS_ADDITIVE), any other one stops who does not know it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

IS_ADDITIVE = True


def upgrade() -> None:
    op.create_table(
        "compatibility",
        sa.Column("oldest_program", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("oldest_program", name="pk_compatibility"),
        sqlite_with_rowid=False,
    )
