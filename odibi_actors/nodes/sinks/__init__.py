"""Sinks: ``stage`` writes a part, synced and invisible; ``publish`` makes it visible once, whole (protocol.md)."""
