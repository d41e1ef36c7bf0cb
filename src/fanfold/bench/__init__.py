"""Measures a handler at each concurrency and memory, under the limits that Lambda sets, and recommends a setting."""
