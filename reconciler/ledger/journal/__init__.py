"""What writes the journal: one transaction a batch under one lock, people's decisions, escrows."""
