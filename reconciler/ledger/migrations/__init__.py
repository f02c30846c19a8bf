"""Alembic migrations of the ledger, and the functions that run them. Each revision says why it is."""
