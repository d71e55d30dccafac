"""AWS: what machines, containers, and functions run."""

# Containers that copy images of one task at the same time.
CONTAINERS = 10
