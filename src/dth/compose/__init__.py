"""The only package that combines a platform, the hub, and the plugins."""
