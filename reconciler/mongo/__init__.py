"""The facts and the effects: MongoDB, read with care and told what the ledger decided.

Charter: pymongo only, and nothing of SQL. Reads that payments depend on are primary and majority-committed, those of
one decision from one snapshot; writes are majority. A driver's exception never leaves this package: it becomes an
``Outage``.
"""
