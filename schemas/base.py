"""What every wire type has in common.

A producer is strict: it cannot make a record with a field that its version does not know.
A consumer reads any record of the same major version and ignores fields that it does not know, so that
rolling a worker back does not fill the dead letters. A record of another major version is refused.
"""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError


class WireError(ValueError):
    """Bytes that are no record of the type that was asked for; the text names each field that is wrong."""


class WireValue(BaseModel):
    """A frozen, strict value inside a record."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Wire(WireValue):
    """A record of its own on a topic or in an index, with the major version of its shape."""

    major: ClassVar[int] = 1
    v: int = 1

    def to_bytes(self) -> bytes:
        """Return the record as compact JSON in UTF-8."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes | str) -> Self:
        """Read a record as a consumer does: unknown fields are ignored, another major version is refused.

        Raises WireError with one clause for each wrong field, never with the values themselves.
        """
        try:
            record = cls.model_validate_json(data, extra="ignore")
        except ValidationError as error:
            raise WireError(describe(cls.__name__, error)) from None
        return record.checked()

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Read a record from parsed JSON, as `from_bytes` does."""
        try:
            record = cls.model_validate(value, extra="ignore")
        except ValidationError as error:
            raise WireError(describe(cls.__name__, error)) from None
        return record.checked()

    def checked(self) -> Self:
        """Return the record, or raise WireError when its major version, or that of a record in it, is unknown."""
        if self.v != self.major:
            raise WireError(f"{type(self).__name__}: major version {self.v} is not supported, only {self.major} is")
        for inner in self.__dict__.values():
            if isinstance(inner, Wire):
                inner.checked()
        return self


def describe(name: str, error: ValidationError) -> str:
    """Say which fields are wrong and why, without their values: a listing's text must not reach the logs.

    A key of a mapping comes from the sender as well, so what is no field of ours stands as `?`.
    """
    ours = _fields(WireValue)
    clauses = [
        f"{'.'.join(str(part) if isinstance(part, int) or part in ours else '?' for part in item['loc']) or 'record'}"
        f": {item['msg']}"
        for item in error.errors(include_input=False, include_url=False, include_context=False)[:5]
    ]
    more = error.error_count() - len(clauses)
    return f"{name}: {'; '.join(clauses)}" + (f"; and {more} more" if more > 0 else "")


def _fields(wire: type[WireValue]) -> set[str]:
    return {*wire.model_fields, *(name for below in wire.__subclasses__() for name in _fields(below))}
