"""The keys of schedules and alerts. Part of the table in ``keys.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from odibi_actors.config import moments
from odibi_actors.config.kinds import (
    BAD,
    NAME_TEXT,
    Anything,
    Choice,
    Flag,
    Key,
    Listing,
    Number,
    Object,
    Text,
    duration,
)
from odibi_actors.config.model import AlertSpec, CatchUpSpec, ScheduleSpec, WatchSpec
from odibi_actors.config.patterns import one_line
from odibi_actors.config.places import MAX_PATH, MAX_URL, WEBHOOK, unsound_webhook
from odibi_actors.config.problems import Problems
from odibi_actors.config.received import MAX_ALERTS, MAX_CATCH_UP, MAX_EXCLUDED
from odibi_actors.config.tree import Mapping, Scalar, Sequence, Tree
from odibi_actors.scheduler import cron


@dataclass(frozen=True)
class Followed:
    """The pipelines of an ``after``, and where each is written. ``any_of``: one of them is enough."""

    names: list[str]
    places: list[str]
    any_of: bool


@dataclass(frozen=True)
class After(Listing):
    """A name, a list of names, ``{all: [...]}`` or ``{any: [...]}``."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if isinstance(tree, Scalar):
            name = NAME_TEXT.check(tree, path, problems)
            return BAD if name is BAD else Followed([name], [path], False)
        at, form, found = path, "", BAD
        if isinstance(tree, Sequence):
            found = super().check(tree, path, problems)
        elif isinstance(tree, Mapping):
            forms = _FORMS.check(tree, path, problems)
            if len(forms) == 1:
                ((form, found),) = forms.items()
                at = f"{path}.{form}"
        if not isinstance(found, list):
            return BAD
        sound = {f"{at}[{index}]": name for index, name in enumerate(found) if name is not BAD}
        return Followed(list(sound.values()), list(sound), form == "any")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [NAME_TEXT.schema(), super().schema(), _FORMS.schema()]}


_NAMES = Listing(NAME_TEXT, unique=True)
_FORMS = Object(
    {"all": Key(_NAMES, "Each of them must commit."), "any": Key(_NAMES, "One of them is enough.")},
    one_of=("all", "any"),
)


@dataclass(frozen=True)
class OneOrMore(Listing):
    """A list, or one value that stands for a list of one."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        if isinstance(tree, Scalar) and tree.value is not None:
            value = self.kind.check(tree, path, problems)
            return BAD if value is BAD else [value]
        return super().check(tree, path, problems)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), super().schema()]}


@dataclass(frozen=True)
class Yes(Flag):
    """true, and nothing else: the key says it all."""

    def check(self, tree: Tree, path: str, problems: Problems) -> Any:
        value = super().check(tree, path, problems)
        if value is False:
            problems.add_at(tree.line, tree.column, path, "can only be true", suggestion="write true, or delete it")
            return BAD
        return value

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"const": True}, Text(r"\$\{.*").schema()["anyOf"][0]]}


def _webhook(url: str) -> None:
    if problem := unsound_webhook(url):
        raise moments.UnknownError(problem, WEBHOOK)


def _written(model: type[msgspec.Struct], *names: str) -> type[msgspec.Struct]:
    """Those fields of a spec whose defaults could be written in the file: elsewhere 0 or "" means that there is
    none, and ``overlap`` depends on the kind of the schedule."""
    fields = [field for field in msgspec.structs.fields(model) if field.name in names]
    return msgspec.defstruct(f"Written{model.__name__}", [(item.name, item.type, item.default) for item in fields])


CATCH_UP = Object(
    {
        "window": Key(duration(1), "How late an occurrence may be and still run."),
        "policy": Key(
            Choice(("latest", "all", "none")), "Which of the late ones within the window run: the latest, all, or none."
        ),
        "max": Key(Number(1, MAX_CATCH_UP), "How many late ones run at most with policy: all; the newest."),
        "grace": Key(duration(), "An occurrence that is at most so late counts as on time."),
    },
    CatchUpSpec,
)

WATCH = Object(
    {
        "connection": Key(NAME_TEXT, "The local connection whose folder is meant; without it the project's folder."),
        "path": Key(
            Text(limit=MAX_PATH), "Folder below that; required without a connection, else the connection's own folder."
        ),
        "pattern": Key(Text(limit=MAX_PATH, verify=one_line), "Which files, such as *.csv; as for sources."),
        "per": Key(Choice(("file", "set")), "file: a run for each file; set: one for all that are there at once."),
        "settle": Key(duration(), "How long a file must not have changed, where its close cannot be seen."),
    },
    _written(WatchSpec, "pattern", "per", "settle"),
)

_MOMENT = Text("", "a date or date and time: 2026-12-25T06:00", verify=moments.check_moment)
_DATE = Text("", "a date: 2026-12-25", verify=moments.check_date)

SCHEDULE = Object(
    {
        "name": Key(NAME_TEXT, "Name, unique in the pipeline.", required=True),
        "description": Key(Text(), "What it is for."),
        "cron": Key(
            Text("", "a cron expression: 5 fields", verify=cron.parse),
            "5 fields: minute, hour, day of month, month, day of week; 6 with seconds first; or @hourly and its kin.",
        ),
        "every": Key(duration(), "An interval of whole seconds, at least 1s, counted from start, else from 1970."),
        "after": Key(
            After(NAME_TEXT, unique=True),
            "When a pipeline commits: its name, a list (all of them), {all: [...]} or {any: [...]}.",
        ),
        "file_watch": Key(WATCH, "When files arrive."),
        "timezone": Key(
            Text("", "a time zone: America/New_York", verify=moments.zone),
            "IANA name of the zone of cron, start, end and exclude.",
        ),
        "dst": Key(Choice(("vixie", "literal", "utc")), "What a change of the clocks does to cron, see below."),
        "overlap": Key(
            Choice(("skip", "buffer_one", "buffer_all", "allow", "cancel")),
            "While the pipeline runs. Default: skip; after: buffer_one; file_watch: buffer_all, buffer_one per set.",
        ),
        "catch_up": Key(CATCH_UP, "What becomes of occurrences that nobody could start in time."),
        "jitter": Key(duration(), "Start up to this much later, the same each time; at most 1h, less than every."),
        "start": Key(_MOMENT, "Nothing is due before it; the anchor of every."),
        "end": Key(_MOMENT, "Nothing is due at it or later."),
        "exclude": Key(Listing(_DATE, unique=True, limit=MAX_EXCLUDED), "Dates on which nothing is due."),
        "deadline": Key(duration(1), "An occurrence that is not finished so long after its due time is late."),
        "paused": Key(Flag(), "Begin paused, until `odibictl schedule resume`."),
        "params": Key(Anything(), "Given to every run it starts."),
    },
    _written(ScheduleSpec, "timezone", "dst", "paused", "jitter"),
    one_of=("cron", "every", "after", "file_watch"),
)

ALERT = Object(
    {
        "on": Key(
            OneOrMore(Choice(("failure", "dead_letter", "lateness", "recovery", "schema_change")), unique=True),
            "Which kinds, one or a list; all if not said.",
        ),
        "command": Key(Text(limit=MAX_PATH), "An executable file of the project; it gets the alert as JSON on stdin."),
        "webhook": Key(
            Text("", "an http or https URL", MAX_URL, verify=_webhook, secret=True),
            "The alert is sent there by POST, as JSON.",
        ),
        "log": Key(Yes(), "A line in the scheduler's log."),
        "throttle": Key(duration(), "How long another alert of the same kind about the same pipeline is held back."),
    },
    _written(AlertSpec, "throttle"),
    one_of=("command", "webhook", "log"),
)
ALERTS = Listing(ALERT, limit=MAX_ALERTS)
