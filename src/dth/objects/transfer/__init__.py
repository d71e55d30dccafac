"""Transferring objects: messages, handlers, and the proof that a copy is right."""
