"""Faults on purpose: schedules, the proxy that carries them out, shrinking of those that fail."""
