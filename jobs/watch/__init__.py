"""The watch: the stream of changes → keys in the work queue. It decides nothing and pays nothing."""
