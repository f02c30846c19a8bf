"""Every job that moves money or shows it: sweep, live settler, pools, refunds, releases, repayments, effects.

Charter: all payments of documents go through :mod:`jobs.payment.settling`; there is no second way. Amounts and reasons
come from the domain. It imports ports, the domain, ``deciding`` and ``jobs.process``, and nothing of the check or the
watch.
"""
