"""One machine: the hub's server, and the processes of tasks."""
