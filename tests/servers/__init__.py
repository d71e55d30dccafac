"""Real servers for tests and benchmarks, each on a free port of 127.0.0.1.

Every server is a context manager with a `.url`. It is ready when its constructor returns, and its
process ends with the `with` block or, at the latest, with the process that started it.
"""
