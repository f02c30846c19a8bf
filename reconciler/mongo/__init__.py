"""The facts and the effects: MongoDB, read with care, where the effects of payments are projected.

Charter: pymongo only, and nothing of SQL. Reads that payments depend on are primary and majority-committed, those of
one decision from one snapshot; writes are majority. A driver's exception never leaves this package: it becomes an
``Outage``.
"""
