"""Reads of the ledger: before a decision, under the lock, for a person's statement, for a whole population.

Charter: it only reads, and decides nothing. Facts that a decision needs together are read by one statement
(:mod:`reconciler.ledger.combined_select`), so that they belong to one moment.
"""
