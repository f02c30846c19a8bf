"""The full check: every participation against the ledger and its effects, partition by partition, and its report.

Charter: the check names what disagrees and repairs only what is safe to repeat. It pays through
:mod:`jobs.payment.settling` like everybody else. Which break a disagreement is, :mod:`reconciler.domain.judging` says.
That nobody is forgotten, :mod:`jobs.check.completeness` proves a second time. It imports ports, ``comparison`` and
``reports``.
"""
