"""What the jobs ask of the two databases: Protocols, and the values that pass through. One file for each seam.

Charter: types only, no I/O. ``reconciler.ledger`` and ``reconciler.mongo`` implement them and do not know each other;
the jobs know nothing else of SQL and MongoDB. It imports the domain.
"""
