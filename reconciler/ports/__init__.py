"""What the jobs ask of the two databases: Protocols, and the values that pass through. One file a seam."""
