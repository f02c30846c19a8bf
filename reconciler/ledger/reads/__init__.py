"""Reads of the ledger: before a decision, under the lock, for a person, for a whole population. Writes nothing."""
