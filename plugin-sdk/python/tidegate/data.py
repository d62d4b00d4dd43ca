"""JSON values to what type hints say, and back. Readers are made once, when the plugin is built, so a call pays for reading only."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from functools import cache
from typing import Annotated, Any, Callable, Literal, Union, get_args, get_origin, get_type_hints

Reader = Callable[[Any, str], Any]
"""Takes a JSON value and where it stands; gives what the hint says, or raises `Mismatch`."""


class Mismatch(ValueError):
    """A JSON value that is not what the hint says."""

    def __init__(self, at: str, problem: str) -> None:
        super().__init__(f"{at}: {problem}" if at else problem)


@dataclasses.dataclass(frozen=True)
class Member:
    """A field of a dataclass, or a parameter of a tool."""

    name: str
    hint: Any
    """With its `Annotated`."""
    default: Any = dataclasses.MISSING
    """What it is without a value; `MISSING` if it needs one."""
    is_optional: bool = False
    """Whether it may be absent."""


def encode(value: Any) -> Any:
    """The JSON form of a value: of dataclasses their fields, of enums their values. A field that is None and None by default is
    left out."""
    if value is None or isinstance(value, (str, bool, int, float)) and not isinstance(value, Enum):
        return value
    if isinstance(value, Enum):
        return encode(value.value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("its keys are not all texts")
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: encode(item) for field, item in fields if item is not None or field.default is not None}
    raise TypeError(f"a `{type(value).__name__}` has none")


@cache
def members(cls: type) -> tuple[Member, ...]:
    """The fields of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(_member(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init)


def bare(hint: Any) -> Any:
    """The hint without its `Annotated`."""
    return bare(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def choices(hint: Any) -> tuple[Any, ...] | None:
    """The members of a union; none if the hint is not one."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else None


def reader(hint: Any) -> Reader:
    """Reads what `hint` says. Raises `TypeError` for a hint that has no JSON form."""
    hint = bare(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if (parts := choices(hint)) is not None:
        return _read_choice(tuple(reader(part) for part in parts))
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin is list:
        return _read_list(reader(arguments[0] if arguments else Any))
    if origin is dict:
        if arguments and arguments[0] is not str:
            raise TypeError(f"the keys of a JSON object are texts, not `{arguments[0]}`")
        return _read_dict(reader(arguments[1] if arguments else Any))
    if origin is Literal:
        return _read_literal(arguments)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _read_enum(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _read_object(hint)
    raise TypeError(f"`{hint}` has no JSON form; use str, int, float, bool, None, list, dict, Literal, an Enum or a dataclass")


def read_members(found: tuple[Member, ...], is_closed: bool) -> Reader:
    """Reads a JSON object into a dict of what its members say. If `is_closed`, other members are a mismatch."""
    readers = {member.name: reader(member.hint) for member in found}
    required = [member.name for member in found if not member.is_optional]

    def read(value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Mismatch(at, f"expected an object, found {_kind(value)}")
        result = {}
        for name, item in value.items():
            if name in readers:
                result[name] = readers[name](item, f"{at}.{name}" if at else name)
            elif is_closed:
                raise Mismatch(at, f"unknown field `{name}`; there are {', '.join(f'`{name}`' for name in readers) or 'none'}")
        for name in required:
            if name not in result:
                raise Mismatch(at, f"missing field `{name}`")
        return result

    return read


def _member(field: dataclasses.Field[Any], hint: Any) -> Member:
    has_factory = field.default_factory is not dataclasses.MISSING
    is_optional = has_factory or field.default is not dataclasses.MISSING
    return Member(field.name, hint, field.default, is_optional)


def _kind(value: Any) -> str:
    kinds = {str: "a text", bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def _read_text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise Mismatch(at, f"expected a text, found {_kind(value)}")
    return value


def _read_integer(value: Any, at: str) -> int:
    # To JSON Schema 1.0 is an integer too.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Mismatch(at, f"expected an integer, found {_kind(value)}")
    return value


def _read_number(value: Any, at: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise Mismatch(at, f"expected a number, found {_kind(value)}")
    try:
        return float(value)
    except OverflowError:
        raise Mismatch(at, "the number is too large") from None


def _read_boolean(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise Mismatch(at, f"expected a boolean, found {_kind(value)}")
    return value


def _read_null(value: Any, at: str) -> None:
    if value is not None:
        raise Mismatch(at, f"expected null, found {_kind(value)}")


def _read_anything(value: Any, _at: str) -> Any:
    return value


_PLAIN: dict[Any, Reader] = {
    str: _read_text,
    int: _read_integer,
    float: _read_number,
    bool: _read_boolean,
    None: _read_null,
    type(None): _read_null,
    Any: _read_anything,
    object: _read_anything,
}


def _read_choice(readers: tuple[Reader, ...]) -> Reader:
    def read(value: Any, at: str) -> Any:
        problems = []
        for read_part in readers:
            try:
                return read_part(value, at)
            except Mismatch as mismatch:
                problems.append(str(mismatch))
        raise Mismatch("", "; ".join(dict.fromkeys(problems)))

    return read


def _read_list(read_item: Reader) -> Reader:
    def read(value: Any, at: str) -> list[Any]:
        if not isinstance(value, list):
            raise Mismatch(at, f"expected a list, found {_kind(value)}")
        return [read_item(item, f"{at}[{index}]") for index, item in enumerate(value)]

    return read


def _read_dict(read_item: Reader) -> Reader:
    def read(value: Any, at: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Mismatch(at, f"expected an object, found {_kind(value)}")
        return {key: read_item(item, f"{at}.{key}" if at else key) for key, item in value.items()}

    return read


def _read_literal(values: tuple[Any, ...]) -> Reader:
    def read(value: Any, at: str) -> Any:
        # `True == 1` in Python, and not in JSON.
        if not any(value == known and type(value) is type(known) for known in values):
            raise Mismatch(at, f"expected one of {', '.join(f'`{known}`' for known in values)}")
        return value

    return read


def _read_enum(enum: type[Enum]) -> Reader:
    known = [(type(member.value), member.value, member) for member in enum]

    def read(value: Any, at: str) -> Enum:
        for kind, of_member, member in known:
            # `True == 1` in Python, and not in JSON.
            if value == of_member and type(value) is kind:
                return member
        raise Mismatch(at, f"expected one of {', '.join(f'`{of_member}`' for _, of_member, _ in known)}")

    return read


_objects: dict[type, Reader] = {}


def _read_object(cls: type) -> Reader:
    if cls in _objects:
        return _objects[cls]

    def read(value: Any, at: str) -> Any:
        return cls(**read_fields(value, at))

    # Known before its fields are looked at: a dataclass may hold others of its kind.
    _objects[cls] = read
    read_fields = read_members(members(cls), is_closed=False)
    return read
