"""The only place that joins a platform, the hub and the plugins."""
