"""What runs and when. Each job is a step that returns what it did, with a loop around it that is as thin as possible.

Charter: jobs reach MongoDB and SQL through the Protocols of :mod:`reconciler.ports`, and import no driver. The rules
are in :mod:`reconciler.domain`; a job reads, asks them, and writes. It does not know the command line, the API or
``app``.
"""
