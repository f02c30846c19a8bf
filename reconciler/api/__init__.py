"""The API and the pages: HTTP in, one query or decision, HTTP out. No driver and no SQL here.

Charter: it may import queries, jobs, the ledger and MongoDB's adapter, and never ``app`` or ``cli``. Only
``app.serving`` imports it, and only when it is switched on, since its packages are an extra (``[api]``). Nothing here
decides about a payment. Who may call a route, its parameter says (:mod:`reconciler.api.auth`). No secret is in a page,
a log line or an error.
"""
