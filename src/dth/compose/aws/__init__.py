"""AWS: what machines, containers and functions run."""
