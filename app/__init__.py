"""The application: settings → adapters → jobs, the one place that chooses, and the daemon as a process."""
