"""Sending events to endpoints: HTTP and signatures, and nothing else. Knows neither SQL nor MongoDB.

Needs the extra ``api`` (httpx, standardwebhooks). Whoever imports :mod:`reconciler.webhooks.sending` makes sure that it
is there; a daemon without endpoints never does.
"""
