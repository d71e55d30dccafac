"""The adapters for PostgreSQL 15 or newer: the ports of a task, for processes on any number of
machines."""
