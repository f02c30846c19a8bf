"""One partition of participations against the ledger, as columns (numpy, pandas): what is plainly in order is cleared.

Charter: it never says that something is wrong, only that it is not plainly right; the exact path judges the rest. It
knows no report and no database, and imports ports and the domain.
"""
