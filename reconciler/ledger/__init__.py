"""The system of record: a double-entry ledger in SQL, on SQLite or PostgreSQL.

Charter: SQLAlchemy only, and nothing of MongoDB. The commit of one transaction of :class:`journal.posting.SqlJournal`
is the moment of payment. What is posted is never changed: corrections are entries of their own. A driver's exception
never leaves this package: it becomes a ``DatabaseFailure``.
"""
