"""Registries: names, signing in, requests, manifests and blobs."""
