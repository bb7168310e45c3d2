"""What is on disk against what was applied: an edit takes effect with ``odibictl apply`` only, which is forgotten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from odibi_actors.errors import OdibiError

if TYPE_CHECKING:
    from odibi_actors.cli.base import App
    from odibi_actors.client import Client
    from odibi_actors.config.model import PipelineSpec

NOT_APPLIED = "nodes/ was changed since the last apply, and the applied code is what runs: `odibictl apply`"


def code_differs(app: App, client: Client, pipeline: str) -> bool:
    """Is the code below this project's ``nodes/`` another one than what ``pipeline`` runs? False when that cannot be
    told, as for a system that an address names: the folder we are in need not be its project."""
    from odibi_actors.config import code_digest

    if app.endpoint or (app.project is None and os.environ.get("ODIBI_ENDPOINT")):
        return False
    try:
        if not (app.root / "odibi.yaml").is_file():
            return False
        applied = client.pipeline(pipeline).get("code_digest")
        return bool(applied) and applied != code_digest(app.root)
    except (OdibiError, OSError):
        return False


def changed(client: Client, spec: PipelineSpec, code: str, running: int | None) -> bool | None:
    """Would applying ``spec`` make a new version? ``running``: the version that runs. None: it cannot be told."""
    from odibi_actors.checkpoint.queries import spec_digest

    if running is None:
        return True
    try:
        found = client.version(spec.name, running)
    except OdibiError:
        return None
    return bool(found.get("code_digest") != code or found.get("spec_digest") != spec_digest(spec))
