"""What people read: the report of a check as a model, and the files it is written to.

Charter: pandas only; nothing here reads a database. A report is typed data first and text second.
"""
