"""The rules of payment: what is due, how much, and which postings say so.

Charter: pure. No I/O, no clock, no randomness, no logging, no driver types. Time and identifiers come in as
arguments; every function is total over what its types admit. Money is an ``int`` of minor units beside its
currency, or a ``Fraction`` on the way to one; neither ``float`` arithmetic nor true division of numbers other
than fractions happens here.
"""
