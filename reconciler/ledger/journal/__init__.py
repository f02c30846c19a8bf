"""What writes the journal: one transaction for each batch, under one lock; people's decisions; escrows; the hash chain.

Charter: rows of the journal are inserted and never changed; the balances beside it are written with them. What a batch
holds is planned by :mod:`reconciler.domain.batch`; this package reads under the lock, writes the plan and commits. It
may import ``ledger.reads`` and the tables.
"""
