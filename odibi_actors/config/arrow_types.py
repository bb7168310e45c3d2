"""The Arrow type names that ``read.schema`` may use. Written here because pyarrow itself costs 600 ms to import."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from odibi_actors.config.arrow_nested import joined, split
from odibi_actors.config.problems import did_you_mean

ARROW_TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float", "float16", "float32", "double", "float64"),
    *("string", "utf8", "large_string", "binary", "large_binary"),
    *("date", "date32", "date64", "time32[s]", "time32[ms]", "time64[us]", "time64[ns]"),
    *("timestamp[s]", "timestamp[ms]", "timestamp[us]", "timestamp[ns]"),
    *("duration[s]", "duration[ms]", "duration[us]", "duration[ns]"),
)
"""Names without parameters; besides them ``timestamp[us, tz=ZONE]``, ``decimal128(precision, scale)``, and lists,
structs and maps of all (``arrow_nested``)."""
_MEANT = {
    "int64": "int integer bigint long i64 int_ number(38,0) serial bigserial",
    "int32": "i32 int4 mediumint",
    "int16": "smallint short i16 int2",
    "int8": "tinyint byte i8",
    "uint64": "unsigned uint u64 ulong",
    "uint32": "u32",
    "uint16": "u16",
    "uint8": "u8",
    "double": "float8 f64 real number numeric doubleprecision double_precision",
    "string": "str text varchar char character nvarchar charactervarying object category uuid json string[pyarrow]",
    "bool": "boolean bit logical bool_",
    "binary": "bytes blob bytea varbinary",
    "timestamp[us]": "timestamp datetime datetime2 datetime64 timestamp_ntz timestampwithouttimezone timestamp_us",
    "timestamp[s]": "datetime64[s] timestamp_s",
    "timestamp[ms]": "datetime64[ms] timestamp_ms",
    "timestamp[ns]": "datetime64[ns] timestamp_ns",
    "timestamp[us, tz=UTC]": "timestamptz timestampwithtimezone timestamp_tz timestamp_ltz datetimeoffset",
    "time64[us]": "time time64 timetype",
    "time32[s]": "time32",
    "duration[us]": "duration interval timedelta timedelta64 timedelta64[us]",
    "duration[ns]": "timedelta64[ns]",
    "decimal128(38, 2)": "decimal dec money decimal128",
}
"""What users of SQL, pandas, polars and others write, by the type that they mean."""
_SYNONYMS = {word: kind for kind, words in _MEANT.items() for word in words.split()}
_SCALED = re.compile(r"(?:decimal|numeric|number|dec)(?:128)?\((\d+)(?:,(\d+))?\)", re.ASCII)
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns), ?(?:tz=)?([A-Za-z0-9_+\-/:]{1,64})\]", re.ASCII)
_DECIMAL = re.compile(r"decimal128\((\d{1,2}), ?(\d{1,2})\)", re.ASCII)
_WRITTEN = {"date32[day]": "date32", "date64[ms]": "date64", "halffloat": "float16"}
_OWN = re.compile("|".join(map(re.escape, _WRITTEN)))
"""What pyarrow writes otherwise."""
_LISTED = re.compile(r"(?:list|array)[\[<({](.+)[\]>)}]|(.+)\[\]")
"""A list as others write it."""
_OFFSET = re.compile(r"[+-]\d\d:\d\d", re.ASCII)


class UnknownTypeError(ValueError):
    """Not an Arrow type; ``suggestion`` says what to write."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def arrow_type(name: str) -> str:
    """``name`` as Arrow itself writes it (``date`` -> ``date32``). Raises UnknownTypeError."""
    if name in ARROW_TYPES:
        return "date32" if name == "date" else name
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[1]), int(match[2])
        if not (1 <= precision <= 38 and scale <= precision):
            raise UnknownTypeError("not a decimal Arrow has", "the precision is from 1 to 38, the scale at most that")
        return f"decimal128({precision}, {scale})"
    if match := _TIMESTAMP.fullmatch(name):
        unit, zone = match[1], match[2]
        if not _OFFSET.fullmatch(zone):
            _check_zone(zone)
        return f"timestamp[{unit}, tz={zone}]"
    try:
        nested = split(name)
    except ValueError as error:
        raise UnknownTypeError("not an Arrow type", str(error)) from None
    if nested is not None:
        return joined(nested._replace(parts=[(part, arrow_type(kind)) for part, kind in nested.parts]))
    raise UnknownTypeError("not an Arrow type", suggestion(name))


def type_name(kind: object) -> str:
    """The name of an Arrow type, or of its ``str``, as ``read.schema`` takes it: what is shown can be written there."""
    return _OWN.sub(lambda found: _WRITTEN[found[0]], str(kind))


def parted(text: str) -> tuple[str, str]:
    """Name and type of a column told as ``name: type``; both may have a colon in them."""
    places = [found.start() for found in re.finditer(": ", text)]
    for place in places:
        kind = type_name(text[place + 2 :])
        try:
            arrow_type(kind)
        except UnknownTypeError:
            continue
        return text[:place], kind
    name, _, kind = text.rpartition(": ")
    return name, type_name(kind)


def suggestion(name: str) -> str:
    """What to write instead of a name that is none: by what it means elsewhere, else by how it is spelt."""
    word = re.sub(r"\s+", "", name).lower()
    if match := _SCALED.fullmatch(word):
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= 38 and scale <= precision:
            return f'did you mean "decimal128({precision}, {scale})"?'
    meant = _SYNONYMS.get(word) or _SYNONYMS.get(re.sub(r"\(.*\)$", "", word))
    if meant is None and (zoned := re.fullmatch(r"datetime64\[(s|ms|us|ns),(?:tz=)?(.+)\]", word)):
        meant = f"timestamp[{zoned[1]}, tz={re.sub(r'.*,', '', name).replace('tz=', '').strip(' ]')}]"
    if meant is None and (listed := _LISTED.fullmatch(word)):
        return f'did you mean "list<{listed[1] or listed[2]}>"?'
    if meant is None and word in ARROW_TYPES:
        meant = word
    if meant is None:
        return did_you_mean(word, [*ARROW_TYPES, "decimal128(10, 2)"], "types")
    return f'did you mean "{meant}"?'


def _check_zone(zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a zone that is a folder of zones
        raise UnknownTypeError(f"there is no time zone {zone}", "write one such as UTC or America/New_York") from error
