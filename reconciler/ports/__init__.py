"""What the jobs ask of the two databases: Protocols, and the values that pass through. One file a seam.

``reconciler.ledger`` and ``reconciler.mongo`` implement them, unaware of each other. The jobs know nothing else of SQL
and MongoDB.
"""
