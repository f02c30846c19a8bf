"""One partition of documents against the ledger, as columns (numpy, pandas). It knows no report and no database."""
