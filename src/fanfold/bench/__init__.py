"""Concurrency against memory: measured under the limits Lambda sets, and what follows from it."""
