"""What keeps jobs running: workers, scheduler, lease, halt, run records. It knows nothing of payments."""
