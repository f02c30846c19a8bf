"""The API: what the platform, its overlays and its operators ask of the daemon over HTTP.

Charter: FastAPI only; no driver. MongoDB and SQL are reached through ``reconciler.ports``, and nothing here decides
about a payment. No secret is in a page, a log line or an error.
"""
