"""What the journal's rows add up to, kept beside how far the chain was verified.

Why: a check walks the chain from there, and has to see all the same that a row before it was changed or taken away.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0008"
branch_labels = None
depends_on = None

IS_ADDITIVE = True


def upgrade() -> None:
    op.add_column("chain_marks", sa.Column("table_sums", sa.Text(), nullable=True))
