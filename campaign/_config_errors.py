"""One line for what pydantic found wrong with a campaign file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

__all__ = ["explain"]

SHOWN = 3
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a table, such as {Sc = 0.5, Ta = 0.5}",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table of keys",
    "string_type": "text in quotes",
    "string_too_short": "text that is not empty",
}


def explain(error: ValidationError, model: type[BaseModel], content: Mapping[str, Any]) -> str:
    """Where, what was given, what was expected, for the first few mistakes.

    Parameters
    ----------
    error
        What pydantic raised.
    model
        The model of the whole file.
    content
        The file as it was read.
    """
    entries = _without_alternatives(error, model, content)
    lines = list(dict.fromkeys(_one(entry, model) for entry in entries))
    more = len(lines) - SHOWN
    return "; ".join(lines[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _without_alternatives(
    error: ValidationError, model: type[BaseModel], content: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Errors, one per place in the file (a union gives one for each of its members)."""
    seen = set()
    for entry in error.errors(include_url=False):
        path = entry["loc"]
        field, rest = _field_at(path, model)
        is_union = field is not None and _alternatives(field.annotation) > 1 and rest
        if is_union:
            path = path[: len(path) - len(rest)]
        if path in seen:
            continue
        seen.add(path)
        if is_union and field is not None:
            value = _value_at(path, content)
            yield {"loc": path, "type": "union", "input": value, "ctx": {"of": field.description}}
        else:
            yield {**entry, "loc": path}


def _field_at(
    path: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[FieldInfo | None, tuple[int | str, ...]]:
    """Find the innermost field on a path, and what is left of the path behind it."""
    field, rest, current = None, path, model
    for index, part in enumerate(path):
        if part in current.model_fields:
            field, rest = current.model_fields[str(part)], path[index + 1 :]
            current = next(iter(_models_in(field.annotation)), BaseModel)
    return field, rest


def _alternatives(annotation: Any) -> int:
    """How many types besides None a union annotation names; 1 for what is no union."""
    if typing.get_origin(annotation) not in {typing.Union, types.UnionType}:
        return 1
    return sum(member is not type(None) for member in typing.get_args(annotation))


def _value_at(path: tuple[int | str, ...], content: Any) -> Any:
    for part in path:
        content = content[part]
    return content


def _one(entry: Mapping[str, Any], model: type[BaseModel]) -> str:
    path, kind = entry["loc"], entry["type"]
    where = _dotted(path)
    if kind == "extra_forbidden":
        return f"unknown key '{where}'{_hint(path, model)}"
    if kind == "missing":
        return f"'{where}' is missing"
    if kind == "value_error":
        message = str(entry["ctx"]["error"])
        return f"{where}: {message}" if where else message
    return f"{where} = {_shown(entry['input'])}: expected {_expectation(entry)}"


def _dotted(path: tuple[int | str, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _expectation(entry: Mapping[str, Any]) -> str:
    context = entry.get("ctx", {})
    match entry["type"]:
        case "literal_error":
            close = _closest(
                str(entry["input"]), context["expected"].replace("'", "").split(" or ")
            )
            expected = context["expected"].replace("False", "false")
            return expected + (f"; did you mean '{close}'?" if close else "")
        case "union":
            return str(context["of"])
        case "greater_than":
            return f"a number above {context['gt']:g}"
        case "greater_than_equal":
            return f"a number of at least {context['ge']:g}"
        case "less_than":
            return f"a number below {context['lt']:g}"
        case "too_short":
            return f"{context['min_length']} or more entries"
        case "too_long":
            return f"{context['max_length']} entries at most"
        case kind:
            return _EXPECTED.get(kind, entry["msg"])


def _closest(name: str, known: list[str]) -> str | None:
    candidates = [part.strip() for entry in known for part in entry.split(",")]
    matches = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return matches[0] if matches else None


def _hint(path: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Name the nearest known key beside it, the section it belongs in, or what may stand there."""
    name = str(path[-1])
    here = _model_at(path[:-1], model)
    known = list(here.model_fields) if here else []
    if close := _closest(name, known):
        return f"; did you mean '{close}'?"
    for section, field in model.model_fields.items():
        inner = _models_in(field.annotation)
        if any(name in found.model_fields for found in inner) and section != path[0]:
            return f"; it belongs in [{section}]"
    return f"; known here: {', '.join(known)}"


def _model_at(path: tuple[int | str, ...], model: type[BaseModel]) -> type[BaseModel] | None:
    """Find the section a path leads to, passing over names and indices chosen by the user."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is not None and part in current.model_fields:
            inner = _models_in(current.model_fields[str(part)].annotation)
            current = inner[0] if inner else None
    return current


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Models named anywhere in an annotation."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in typing.get_args(annotation) for found in _models_in(inner)]
