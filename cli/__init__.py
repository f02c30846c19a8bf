"""What people type: the commands, and what a terminal shows of their results.

Charter: a command reads its arguments, calls a job, a query or a decision, and draws the result. Nothing is decided and
nothing is wired here; :mod:`app.parts` does that. It may import every package; no package imports it.
"""
