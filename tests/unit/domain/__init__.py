"""The rules of payment, without a server: tables of cases in order of precedence, and properties."""
