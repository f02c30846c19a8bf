"""What several tests build on: a small platform in MongoDB, and parts wired to test servers."""
