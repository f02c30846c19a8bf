"""Alembic's revisions of the tables, in order. :mod:`reconciler.ledger.migrate` applies them.

Charter: a released revision is never edited; a change is a new file. ``IS_ADDITIVE`` says whether programs that do not
know the revision may go on working. A revision states its tables itself and imports nothing of the schema, which moves
on.
"""
