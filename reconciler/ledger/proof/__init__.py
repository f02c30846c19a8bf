"""Proving the ledger from its own rows: hash chain, sums, balances, amounts. Writes nothing."""
