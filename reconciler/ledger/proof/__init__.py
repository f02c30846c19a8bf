"""Proving the ledger from its own rows: the hash chain, sums, balances and amounts, in bounded memory.

Charter: it only reads. It computes amounts by :mod:`reconciler.domain.rederivation`, which shares no code with the
formulas that payments use, so that one mistake is not made twice.
"""
