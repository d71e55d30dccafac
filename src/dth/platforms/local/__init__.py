"""The local platform: one machine, SQLite, processes."""
