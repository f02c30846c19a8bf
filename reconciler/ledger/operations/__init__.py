"""Tables beside the journal that may be updated: outbox, events, deliveries, runs, lease, check requests, breaks.

Charter: rows here change, and none is in the hash chain. No money moves here; what has to be posted (a decision about a
break) goes through ``ledger.journal``, whose lock writers here take too where their rows must agree with the journal.
"""
