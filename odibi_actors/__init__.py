"""Odibi Actors: data pipelines as actors that never lose or double a row."""

__version__ = "0.1.0"
