"""The dashboard: pages drawn by the server, for people at a browser. Without JavaScript all works but what is live.

Charter: a page calls :mod:`reconciler.queries` and draws; it decides nothing. Who acts is who is signed
in, with a reason, by a form that carries a token of their session. No secret is on a page.
"""
