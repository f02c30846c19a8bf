"""Alembic's entry: runs the revisions on the connection that :mod:`reconciler.ledger.migrate` hands over."""

from alembic import context

from reconciler.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
