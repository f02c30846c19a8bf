"""What people type: commands, their wiring, and how results are shown.

Charter: the only place where adapters are put together (:mod:`cli.composition`), and the only one that prints.
"""
