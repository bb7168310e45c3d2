"""Pipelines that are built in code: the same checks, engine and checkpoints as those of ``odibi.yaml``."""

from __future__ import annotations
