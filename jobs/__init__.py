"""What runs and when. Each job is a step that returns what it did, with a loop around it that is as thin as possible.

Charter: a job imports no driver, and neither ``reconciler.ledger`` nor ``reconciler.mongo``: it is given ports. Whether
somebody is paid it asks :mod:`reconciler.deciding`, and never calls ``decide`` itself; only :mod:`jobs.payment.pools`
divides a pool. It does not know the command line, the API or ``app``.
"""
