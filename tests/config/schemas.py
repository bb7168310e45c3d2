"""As much of JSON Schema 2020-12 as ``config_schema`` uses. An unknown keyword is an error here, not ignored."""

from __future__ import annotations

import re
from typing import Any

_SILENT = {"$schema", "title", "$comment", "description", "default"}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "object": (dict,),
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Is ``value`` valid against ``schema``?"""
    return all(_holds(word, given, schema, value) for word, given in schema.items() if word not in _SILENT)


def _holds(word: str, given: Any, schema: dict[str, Any], value: Any) -> bool:
    text, items, table = isinstance(value, str), isinstance(value, list), isinstance(value, dict)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match word:
        case "type":
            return isinstance(value, _TYPES[given]) and (given == "boolean" or not isinstance(value, bool))
        case "enum":
            return value in given
        case "const":
            return type(value) is type(given) and value == given
        case "not":
            return not accepts(given, value)
        case "anyOf":
            return any(accepts(one, value) for one in given)
        case "oneOf":
            return sum(accepts(one, value) for one in given) == 1
        case "pattern":
            return not text or re.search(given, value) is not None
        case "minLength":
            return not text or len(value) >= given
        case "maxLength":
            return not text or len(value) <= given
        case "minimum":
            return not number or value >= given
        case "maximum":
            return not number or value <= given
        case "minItems":
            return not items or len(value) >= given
        case "maxItems":
            return not items or len(value) <= given
        case "uniqueItems":
            return not items or not given or all(one not in value[:at] for at, one in enumerate(value))
        case "items":
            return not items or all(accepts(given, one) for one in value)
        case "required":
            return not table or all(name in value for name in given)
        case "propertyNames":
            return not table or all(accepts(given, name) for name in value)
        case "properties":
            return not table or all(accepts(given[name], one) for name, one in value.items() if name in given)
        case "additionalProperties":
            others = [one for name, one in value.items() if name not in schema.get("properties", {})] if table else []
            return not others if given is False else all(accepts(given, one) for one in others)
    raise ValueError(f"this validator does not know {word}")
