"""The local runtime: one engine, in one process."""

from odibi_actors.local.system import LocalSystem, RunSummary, run_pipeline

__all__ = ["LocalSystem", "RunSummary", "run_pipeline"]
