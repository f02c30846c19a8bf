"""What runs and when. Each job is a step that returns what it did, and the thinnest loop around it.

Charter: jobs reach MongoDB and SQL through the Protocols of :mod:`reconciler.ports` only; no driver is imported here.
"""
