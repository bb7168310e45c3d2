"""The story of a run: one HTML page without scripts, that loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any, Final

from odibi_actors.units import plural

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 } td, th { border: 1px solid #ddd; padding: .2rem .6rem }
th { text-align: left; background: #f6f6f6; font-weight: 600 } pre { background: #f6f6f6; padding: .8rem }
.success { color: #187a2f } .failed { color: #b3261e } .retry { color: #8a5a00 } section { margin: 2rem 0 }
.explained { white-space: pre-wrap } .tables { overflow-x: auto }
"""


def story_page(lineage: Mapping[str, Any], explanations: Mapping[str, Any], graph: str) -> str:
    """The page. ``lineage``: as ``Tracker.export_lineage``; ``explanations``: step -> text; ``graph``: the DAG as text.
    Whatever stands in names and data is shown as text."""
    name, summary = lineage.get("pipeline_name", "unknown"), lineage["summary"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{_text(name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_text(name)}</h1>",
        f"<p>{_text(lineage['pipeline_id'])}, began {_text(lineage['start_time'] or 'unknown')}: "
        f"{summary['total_steps']} steps in {summary['total_duration_ms']:.1f} ms, "
        f"{summary['success_count']} succeeded, {summary['failed_count']} failed.</p>",
    ]
    if lineage.get("left_out"):
        parts.append(f"<p>{lineage['left_out']} older steps are left out.</p>")
    if graph:
        parts.append(f"<h2>DAG</h2><pre>{_text(graph)}</pre>")
    parts += [_step(step, explanations.get(step["step_name"])) for step in lineage["steps"]]
    return "\n".join([*parts, "</body></html>\n"])


def _step(step: Mapping[str, Any], explanation: Any) -> str:
    took = f"{step['duration_ms']:.1f} ms" if step["duration_ms"] is not None else "running"
    state = step["state"] if step["state"] in ("success", "failed", "retry") else "pending"
    parts = [
        f"<section><h2>{_text(step['step_name'])} <small>({_text(step['layer'])})</small></h2>",
        f'<p><span class="{state}">{_text(step["state"])}</span>, {took}, iteration {step["iteration"]}',
        f", {step['row_delta']:+d} rows" if step["row_delta"] is not None else "",
        "</p>",
    ]
    if explanation is not None:
        parts.append(f'<p class="explained">{_text(explanation)}</p>')
    if step["error_message"]:
        parts.append(f"<pre>{_text(step['error_message'])}</pre>")
    if step["schema_diff"]:
        parts.append(_changes(step["schema_diff"]))
    for title, key in (("Before", "before_snapshot"), ("After", "after_snapshot")):
        if step[key]:
            parts.append(_snapshot(title, step[key]))
    return "\n".join([*parts, "</section>"])


def _changes(diff: Mapping[str, Any]) -> str:
    changes = [f"+ {name}" for name in diff["added_columns"]] + [f"- {name}" for name in diff["removed_columns"]]
    changes += [f"{one['column']}: {one['before']} -> {one['after']}" for one in diff["changed_types"]]
    return f"<pre>{_text(chr(10).join(changes))}</pre>" if changes else ""


def _snapshot(title: str, snapshot: Mapping[str, Any]) -> str:
    names = [f"{_text(one['column'])}<br><small>{_text(one['type'])}</small>" for one in snapshot["schema"]]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(value)}</td>" for value in row.values()) + "</tr>"
        for row in snapshot["sample_data"]
    )
    count = plural(snapshot["row_count"], "row")
    return f'<h3>{title}: {count}</h3><div class="tables"><table><tr>{head}</tr>{rows}</table></div>'


def _text(value: Any) -> str:
    return escape("" if value is None else str(value))
