"""The composition root and the daemon as a process: settings become adapters, and adapters become jobs.

Charter: only this package chooses implementations, :mod:`app.parts` first of all. It decides nothing about a payment
and prints nothing. It may import every package but ``cli``.
"""
