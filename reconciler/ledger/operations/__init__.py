"""Tables beside the journal that may be updated: outbox, events, deliveries, runs, lease, check requests, breaks.

Charter: these rows change, and they are not in the hash chain. No money moves here. A decision about a break is a row
of the journal, so ``break_decisions`` writes it through ``ledger.journal``. Where a row here must agree with the
journal (the outbox), its writer takes the journal's lock.
"""
