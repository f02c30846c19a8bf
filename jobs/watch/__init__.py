"""The watch: it reads MongoDB's stream of changes and puts keys into the work queue.

Charter: it decides nothing and pays nothing, and nothing depends on it: a sweep finds the same participations later.
It imports ``ports.watch``, the work queue and metrics, and nothing of ``jobs.payment``.
"""
