"""What the work costs, measured on real servers beside its floor, in the same run.

Each script opens with a sketch of what to expect, starts its own servers, prints figures and ratios, ends by itself and
leaves nothing running. Absolute figures move with the machine; only the ratios of one run mean something.
"""
