"""Tables beside the journal, which may be updated: outbox, events, deliveries, runs, lease, check requests, breaks."""
