"""The facts and the effects: it reads participations and campaigns from MongoDB, and projects payouts to it.

Charter: pymongo only, and nothing of SQL. Reads that payments depend on are primary and majority-committed, those of
one decision from one snapshot; writes are majority. A driver's exception never leaves this package: it becomes a
``DatabaseFailure``.
"""
