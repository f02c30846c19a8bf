"""What the ledger is asked: before a decision, under the lock, for a person, for a whole population. Writes nothing."""
