"""What the benchmarks measure with, and what they measure against; nothing here is run on its own.

* `platform`: documents of a platform on which everybody is due
* `processes`: work in a process of its own, with what it took
* `effects`: the effects of payments written row by row, and as bare bulk writes
* `posting`: the ledger's part alone
"""
