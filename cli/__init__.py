"""What people type: commands, and what a terminal shows. Nothing is decided and nothing is wired here."""
