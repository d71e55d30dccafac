"""The base of all other parts: errors, parameters, HTTP, and the ports that a platform
implements."""
