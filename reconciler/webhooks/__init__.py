"""Sending events to endpoints: HTTP and signatures, and nothing else.

Charter: it knows neither SQL nor MongoDB, and decides neither what is sent nor when (:mod:`jobs.webhooks`).

Needs the extra ``api`` (httpx, standardwebhooks). Whoever imports :mod:`reconciler.webhooks.sending` makes sure that it
is there; a daemon without endpoints never does.
"""
