"""Validation of plain values by a pydantic model, with its errors in plain sentences at their lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kmwatch.config.problems import Problem, listed, suggest
from kmwatch.config.source import Document, Plain, Where
from kmwatch.config.values import Context

M = TypeVar("M", bound=BaseModel)

_SHAPES = {
    "model_type": "must hold keys and values (key: value)",
    "dict_type": "must hold keys and values (key: value)",
    "tuple_type": "must be a list; write [..] around it",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "too_short": "must not be empty; list at least one",
}
_LIMITS = {
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
_ABSENT = object()


def validate(
    model: type[M], value: Plain, where: Where, document: Document, context: Context, problems: list[Problem]
) -> M | None:
    """Validate a part of a document.

    Args:
        model: what it should be.
        value: the part, as plain values.
        where: its place in the document.
        document: for lines, and to tell what came from the environment.
        context: what validators need.
        problems: every problem found is added here.

    Returns:
        The model, or None if there was any error.
    """
    empty = list(_empty(value, ()))
    problems += [document.problem((*where, *path), "is empty; give it a value or remove it") for path in empty]
    try:
        found = model.model_validate(value, context=context)
    except ValidationError as error:
        for details in error.errors(include_url=False, include_input=False):
            path = _real(details, value)
            follows = details["type"] == "value_error" and any(e[: len(path)] == path for e in empty)
            if path in empty or follows or (details["type"] == "too_short" and _at(value, path)):
                continue  # said already; and a list is not short because what is in it is wrong
            shown = _ABSENT if (*where, *path) in document.hidden else _at(value, path)
            message = _message(details, model, path, shown)
            problems.append(document.problem((*where, *path), message))
        return None
    return None if empty else found


def _empty(value: Plain, where: Where) -> Iterator[Where]:
    """The places of nulls: an empty `networks:` must not read as "from anywhere"."""
    if value is None:
        yield where
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _empty(inner, (*where, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _empty(inner, (*where, index))


def _real(details: ErrorDetails, value: Plain) -> Where:
    """The location without the names of union members and the like, which are no part of the file."""
    path: list[str | int] = []
    current: object = value
    for part in details["loc"]:
        inner = _at(current, (part,))
        lacking = isinstance(current, dict) and details["type"] == "missing" and part is details["loc"][-1]
        if inner is not _ABSENT:
            current = inner
        elif not lacking:
            continue
        path.append(part)
    return tuple(path)


def _at(value: object, path: Iterable[str | int]) -> object:
    for part in path:
        within = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not within and not (isinstance(value, dict) and part in value):
            return _ABSENT
        value = value[part]  # type: ignore[index]
    return value


def _message(details: ErrorDetails, model: type[BaseModel], path: Where, shown: object) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), model, path)
    if kind == "missing":
        return _missing(model, path)
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return _choice(str(context["expected"]), shown)
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context)
    return _SHAPES.get(kind, details["msg"])


def _unknown(key: str, model: type[BaseModel], path: Where) -> str:
    allowed = [name for found in _models(model, path[:-1]) for name in names(found)]
    if not allowed:
        return "unknown key; nothing may stand here"
    return f"unknown key{suggest(key, allowed) or ';'} allowed: {listed(allowed)}"


def _missing(model: type[BaseModel], path: Where) -> str:
    for found in _models(model, path[:-1]):
        for name, field in found.model_fields.items():
            if path[-1] in {name, field.alias} and field.description:
                return f"is missing; add it ({field.description.rstrip('.')})"
    return "is missing; add it"


def _choice(expected: str, shown: object) -> str:
    known = expected.replace("'", "").replace(" or ", ", ").split(", ")
    hint = suggest(shown, known) if isinstance(shown, str) else ""
    return f"must be one of {listed(known)}{hint}"


def names(model: type[BaseModel]) -> list[str]:
    """The keys a model allows, as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: object, path: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models that may stand at a path below a type."""
    found = list(_unwrapped(annotation))
    for part in path:
        found = [inner for outer in found for inner in _step(outer, part)]
    return [model for model in found if isinstance(model, type) and issubclass(model, BaseModel)]


def _step(annotation: object, part: str | int) -> Iterable[object]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in {name, field.alias}:
                yield from _unwrapped(field.annotation)
    elif get_origin(annotation) in {tuple, dict, Mapping}:
        yield from _unwrapped(get_args(annotation)[0 if isinstance(part, int) else 1])


def _unwrapped(annotation: Any) -> Iterable[object]:  # noqa: ANN401  (annotations are of any type)
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _unwrapped(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for member in get_args(annotation):
            yield from _unwrapped(member)
    else:
        yield annotation
