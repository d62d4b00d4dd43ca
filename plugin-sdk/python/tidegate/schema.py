"""JSON Schema 2020-12 of type hints, as MCP clients like it."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Annotated, Any, Literal, Sequence, get_args, get_origin

from .data import Member, bare, choices, encode, members
from .hints import Length, Pattern, Range

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}


# What the schema of a form's field may say, by its type.
_FIELDS: dict[Any, tuple[str, ...]] = {
    "string": ("minLength", "maxLength", "enum"),
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "boolean": (),
}


class _Definitions:
    """The dataclasses that a schema refers to, each under a name of its own."""

    def __init__(self) -> None:
        self.names: dict[type, str] = {}
        self.schemas: dict[str, Schema] = {}

    def name(self, cls: type) -> str:
        """A new name for a dataclass: its own, with a number if another has that."""
        name, number = cls.__name__, 1
        while name in self.schemas:
            number += 1
            name = f"{cls.__name__}{number}"
        self.names[cls] = name
        return name


def of_parameters(parameters: Sequence[Member]) -> Schema:
    """The schema of a tool's arguments; there are no others."""
    definitions = _Definitions()
    schema = _object(parameters, definitions)
    return _finish({**schema, "additionalProperties": False}, definitions)


def of_answer(hint: Any) -> Schema:
    """The schema of a tool's answer."""
    definitions = _Definitions()
    cls = bare(hint)
    if _is_dataclass(cls):
        # At the root it stands itself, not a reference to it.
        schema = _described(_object(members(cls), definitions), _doc(cls))
    else:
        schema = _of(hint, definitions)
    if schema.get("type") != "object":
        raise TypeError(f"an answer is a JSON object, which `{hint}` is not; answer with a dataclass, a dict or `Content`")
    return _finish(schema, definitions)


def of_form(cls: type) -> Schema:
    """The schema of a form with a field for each field of a dataclass, as far as MCP lets a form go (2026-07-28,
    `PrimitiveSchemaDefinition`). Raises `TypeError` for a dataclass that is no form."""
    if not _is_dataclass(cls):
        raise TypeError(f"`{cls}` can't be asked for in a form; a form is a dataclass")
    schema = _object(members(cls), _Definitions())
    for name, field in schema["properties"].items():
        try:
            schema["properties"][name] = _field(field)
        except TypeError as error:
            raise TypeError(f"`{cls.__name__}` can't be asked for in a form: its field `{name}` {error}") from None
    return schema


def _field(schema: Schema) -> Schema:
    kind = schema.get("type")
    # In a form, what is not given is left out.
    if isinstance(kind, list) and kind[1:] == ["null"]:
        schema = {**schema, "type": kind[0]}
        if "enum" in schema:
            schema["enum"] = [value for value in schema["enum"] if value is not None]
    known = _FIELDS.get(schema.get("type"))  # type: ignore[arg-type]
    if known is None:
        raise TypeError("is neither a text nor a number, a boolean or a choice of texts")
    for keyword in schema:
        if keyword not in ("type", "description", "default", *known):
            raise TypeError(f"says `{keyword}` in its schema, for which forms have no word")
    return schema


def _finish(schema: Schema, definitions: _Definitions) -> Schema:
    result = {"$schema": DIALECT, **schema}
    if definitions.schemas:
        result["$defs"] = definitions.schemas
    return result


def _of(hint: Any, definitions: _Definitions) -> Schema:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return _annotated(_of(inner, definitions), notes)
    if hint in _PLAIN:
        return dict(_PLAIN[hint])
    if (parts := choices(hint)) is not None:
        return _choice([_of(part, definitions) for part in parts])
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is list:
        return {"type": "array", "items": _of(arguments[0] if arguments else Any, definitions)}
    if origin is dict:
        items = _of(arguments[1] if arguments else Any, definitions)
        return {"type": "object", "additionalProperties": items} if items else {"type": "object"}
    if origin is Literal:
        return _enum(arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [member.value for member in hint]
        if not all(isinstance(value, (str, int, float)) for value in values):
            raise TypeError(f"the values of `{hint.__name__}` are not all texts or numbers")
        return _described(_enum(values), _doc(hint))
    if _is_dataclass(hint):
        return _reference(hint, definitions)
    raise TypeError(f"`{hint}` has no JSON Schema")


def _object(found: Sequence[Member], definitions: _Definitions) -> Schema:
    properties = {}
    for member in found:
        schema = _of(member.hint, definitions)
        if member.default is not None and member.default is not dataclasses.MISSING:
            schema["default"] = encode(member.default)
        properties[member.name] = schema
    result: Schema = {"type": "object", "properties": properties}
    if required := [member.name for member in found if not member.is_optional]:
        result["required"] = required
    return result


def _reference(cls: type, definitions: _Definitions) -> Schema:
    name = definitions.names.get(cls)
    if name is None:
        name = definitions.name(cls)
        # Held by its name before its fields are looked at: a dataclass may hold others of its kind.
        definitions.schemas[name] = {}
        definitions.schemas[name].update(_described(_object(members(cls), definitions), _doc(cls)))
    return {"$ref": f"#/$defs/{name}"}


def _choice(parts: list[Schema]) -> Schema:
    # `["string", "null"]` is easier on models and clients than `anyOf`, where it says the same.
    null = [part for part in parts if part == {"type": "null"}]
    others = [part for part in parts if part != {"type": "null"}]
    if null and len(others) == 1 and isinstance(others[0].get("type"), str):
        [schema] = others
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": parts}


def _enum(values: Sequence[Any]) -> Schema:
    kinds = {type(value) for value in values}
    [kind] = kinds if len(kinds) == 1 else [None]
    # Of several kinds each value says its own.
    return {**(_PLAIN.get(kind, {}) if kind else {}), "enum": list(values)}


def _annotated(schema: Schema, notes: Sequence[Any]) -> Schema:
    for note in notes:
        match note:
            case str():
                schema["description"] = note
            case Range(least, greatest):
                _bound(schema, "minimum", least)
                _bound(schema, "maximum", greatest)
            case Length(least, greatest):
                kind = schema.get("type")
                is_list = kind == "array" or isinstance(kind, list) and "array" in kind
                _bound(schema, "minItems" if is_list else "minLength", least)
                _bound(schema, "maxItems" if is_list else "maxLength", greatest)
            case Pattern(regex):
                schema["pattern"] = regex
    return schema


def _bound(schema: Schema, keyword: str, value: float | None) -> None:
    if value is not None:
        schema[keyword] = value


def _described(schema: Schema, description: str | None) -> Schema:
    return {"description": description, **schema} if description else schema


def _doc(cls: type) -> str | None:
    doc = cls.__dict__.get("__doc__")
    # `dataclass` writes a signature where there is no docstring, and `Enum` a sentence of its own in old Pythons.
    if not doc or doc.startswith(f"{cls.__name__}(") or doc == "An enumeration.":
        return None
    return " ".join(doc.split())


def _is_dataclass(hint: Any) -> bool:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)
