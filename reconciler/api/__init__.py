"""The API and the pages: HTTP in, one port of :mod:`reconciler.api.context` asked, HTTP out. No driver and no SQL here.

An extra (``pip install payout-reconciler[api]``): only ``cli.serving`` imports it, and only when it is switched on.
"""
