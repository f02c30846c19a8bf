"""The API and the pages: HTTP in, one query or decision, HTTP out. No driver and no SQL here.

An extra (``pip install payout-reconciler[api]``): only ``app.serving`` imports it, and only when it is switched on.
Nothing here decides about a payment. No secret is in a page, a log line or an error.
"""
