"""What keeps jobs running: workers, the scheduler, who leads (the lease), the halt, records of runs.

Charter: it runs steps and knows nothing of what they do. An outage is waited out, a broken invariant becomes a halt,
and a defect ends the process. Only ``measuring`` knows results of payments, to count them.
"""
