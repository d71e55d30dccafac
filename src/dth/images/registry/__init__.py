"""Registries: names, sign-in, requests, manifests, and blobs."""
