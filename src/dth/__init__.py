"""Data Transfer Hub."""
