"""Mutants: small faults put into modules whose mistakes lose data. The tests of a module must
notice each."""
