"""JSON: what the completion holds keeps a schema, and says what the reference says."""

from __future__ import annotations

import importlib
import json
import math
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from herdwise.answers.extract import read_code, without_thinking
from herdwise.core.completion import Completion
from herdwise.core.errors import ItemsError, MissingExtraError
from herdwise.profiling.benchmark import Item
from herdwise.profiling.graders.base import Grade, Grader


class JsonSchema(Grader):
    """1 where the completion's JSON is valid by the schema and equals the reference, where they are given.

    JSON is the whole text, else the last fenced block, else the first object or array in it; with
    ``strict`` only the whole text. Equality: numbers by value, texts but for outer blanks, objects without
    regard to order. References elsewhere (``$ref`` to an address) are never fetched.

    Args:
        schema: a JSON Schema of any draft; 2020-12 where it names none.
        strict: nothing may stand around the JSON.
        partial: where a reference is an object, the quality is the share of its fields that are right
            (0 still where the schema is broken).
    """

    name: ClassVar[str] = "json_schema"
    quick: ClassVar[bool] = True
    instruction: ClassVar[str] = "Answer with JSON alone."

    def __init__(self, *, schema: Any = None, strict: bool = False, partial: bool = False) -> None:
        self.schema, self.strict, self.partial = schema, strict, partial

    def check(self, item: Item) -> str | None:
        """It needs a schema that is one, or a reference that is JSON."""
        if self.schema is None and item.reference is None:
            return "reference: is missing, and so is grader_options.schema; the json_schema grader needs one."
        if item.reference is not None and _parsed(item.reference) is _NOTHING:
            return "reference: is not JSON."
        if self.schema is None:
            return None
        if not isinstance(self.schema, dict | bool):
            return "grader_options.schema: must be an object."
        return _broken_schema(msgspec.json.encode(self.schema, order="sorted"))

    def grade(self, item: Item, completion: Completion) -> Grade:
        """See the class."""
        value = _read_json(completion.text, strict=self.strict)
        if value is _NOTHING:
            return Grade(0.0, None, "no JSON could be read")
        try:
            return self._compared(item, value)
        except UnicodeEncodeError:
            return Grade(0.0, None, "it holds half a surrogate pair")
        except RecursionError:
            return Grade(0.0, None, "it is nested too deeply to be looked at")

    def _compared(self, item: Item, value: Any) -> Grade:
        said = msgspec.json.encode(value, order="sorted").decode()
        if self.schema is not None:
            validator = _validator(msgspec.json.encode(self.schema, order="sorted"))
            fault = self._fault(item, validator, value)
            if fault is not None:
                return Grade(0.0, said, f"{fault.json_path}: {fault.message}"[:200])
        if item.reference is None:
            return Grade(1.0, said)
        wanted = _parsed(item.reference)
        if self.partial and isinstance(wanted, dict) and wanted:
            if not isinstance(value, dict):
                return Grade(0.0, said, "not an object")
            wrong = [k for k, v in wanted.items() if k not in value or not _same(value[k], v)]
            return Grade(1 - len(wrong) / len(wanted), said, ", ".join(wrong)[:200])
        return Grade(float(_same(value, wanted)), said)

    @staticmethod
    def _fault(item: Item, validator: Any, value: Any) -> Any:
        from referencing.exceptions import Unresolvable

        try:
            return next(iter(validator.iter_errors(value)), None)
        except Unresolvable as error:
            raise ItemsError(
                f"item {item.id!r}, grader_options.schema: {error}.",
                remedy="A $ref must point into the schema itself; nothing is fetched.",
            ) from error


_NOTHING: Any = object()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return _NOTHING


def _read_json(text: str, *, strict: bool) -> Any:
    text = without_thinking(text).strip()
    value = _parsed(text)
    if value is not _NOTHING or strict:
        return value
    block = read_code(text, "json")
    if block is not None:
        value = _parsed(block)
        if value is not _NOTHING:
            return value
    # A text may hold brackets without end; looking from each would be quadratic.
    for start in [i for i, c in enumerate(text) if c in "{["][:1000]:
        try:
            return _DECODER.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    return _NOTHING


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, str) and isinstance(b, str):
        return a.strip() == b.strip()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a is None and b is None


def _validator_class(schema: Any) -> Any:
    try:
        validators: Any = importlib.import_module("jsonschema.validators")
    except ImportError as error:
        raise MissingExtraError("the json_schema grader with a schema", extra="schema") from error
    return validators.validator_for(schema, default=validators.Draft202012Validator)


@lru_cache(maxsize=256)
def _broken_schema(encoded: bytes) -> str | None:
    schema = msgspec.json.decode(encoded)
    kind = _validator_class(schema)
    exceptions: Any = importlib.import_module("jsonschema.exceptions")
    try:
        kind.check_schema(schema)
    except exceptions.SchemaError as error:
        return f"grader_options.schema: is no JSON Schema: {error.json_path}: {error.message[:200]}."
    return None


@lru_cache(maxsize=256)
def _validator(encoded: bytes) -> Any:
    schema = msgspec.json.decode(encoded)
    kind = _validator_class(schema)
    # Only the drafts themselves: the library's default would fetch whatever a $ref names.
    drafts: Any = importlib.import_module("jsonschema_specifications")
    return kind(schema, registry=drafts.REGISTRY)
