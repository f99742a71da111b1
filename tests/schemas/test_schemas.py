"""The wire types: strict where records are made, lenient where they are read, stable on the wire."""

from pathlib import Path

import jsonschema
import orjson
import pytest
from pydantic import ValidationError

from schemas import FlaggedListing, Listing, Suspect, Wire, WireError
from schemas.__main__ import FOLDER, RECORDS, exported

EXAMPLES = Path(__file__).with_name("examples")


def example(record: type[Wire]) -> bytes:
    """Return the stored example of a record of major version 1."""
    return (EXAMPLES / f"{record.__name__}.v1.json").read_bytes()


def test_the_exported_schemas_are_current() -> None:
    """`python -m schemas` would change nothing."""
    assert {path.name: path.read_bytes() for path in FOLDER.glob("*.json")} == exported()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_stored_examples_are_still_read(record: type[Wire]) -> None:
    """A record that was written by the first release is read, and written back without loss."""
    stored = orjson.loads(example(record))
    read = record.from_bytes(example(record))
    assert kept(stored, orjson.loads(read.to_bytes()))


def kept(stored: object, written: object) -> bool:
    """Whether all that was stored is written again; fields that have come since may stand beside it."""
    if isinstance(stored, dict) and isinstance(written, dict):
        return all(name in written and kept(value, written[name]) for name, value in stored.items())
    return stored == written


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_examples_obey_the_exported_schema(record: type[Wire]) -> None:
    """What another language validates with the JSON Schema, we read, and the other way round."""
    schema = orjson.loads((FOLDER / f"{record.__name__}.v1.json").read_bytes())
    jsonschema.validate(orjson.loads(example(record)), schema)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_a_consumer_ignores_fields_of_a_newer_minor_version(record: type[Wire]) -> None:
    """A record with a field that is not known here is read as if it were not there."""
    newer = {**orjson.loads(example(record)), "field_of_tomorrow": {"deep": [1]}}
    assert record.from_bytes(orjson.dumps(newer)) == record.from_bytes(example(record))


def test_a_consumer_ignores_unknown_fields_deep_inside() -> None:
    """The rule holds inside a nested listing too."""
    event = orjson.loads(example(FlaggedListing))
    event["listing"]["colour"] = "red"
    assert FlaggedListing.from_bytes(orjson.dumps(event)) == FlaggedListing.from_bytes(example(FlaggedListing))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_another_major_version_is_refused(record: type[Wire]) -> None:
    """A record of major version 2 is not guessed at."""
    newer = {**orjson.loads(example(record)), "v": 2}
    with pytest.raises(WireError, match="major version 2 is not supported"):
        record.from_bytes(orjson.dumps(newer))


def test_a_producer_cannot_make_unknown_fields() -> None:
    """Strict where records are made: a typo is an error."""
    with pytest.raises(ValidationError, match="titel"):
        Listing(id="a", version="1", titel="x")  # type: ignore[call-arg]


def test_records_are_frozen() -> None:
    """Nothing changes a record behind its reader's back."""
    listing = Listing.from_bytes(example(Listing))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(listing, "title", "other")  # noqa: B010 - the type checker would refuse it


@pytest.mark.parametrize(
    ("change", "names"),
    [
        pytest.param({"rank": 0}, "rank", id="rank from 1"),
        pytest.param({"triage_score": 1.5}, "triage_score", id="a probability"),
        pytest.param({"found_at": "2026-01-01T00:00:00"}, "found_at", id="a time without a zone"),
        pytest.param({"review_key": ""}, "review_key", id="an empty key"),
    ],
)
def test_wrong_values_are_named_without_being_shown(change: dict[str, object], names: str) -> None:
    """An error says which field and why; a listing's text must not reach the logs."""
    event = {**orjson.loads(example(Suspect)), **change, "seller": ["secret seller"]}
    with pytest.raises(WireError, match=names) as caught:
        Suspect.from_bytes(orjson.dumps(event))
    assert "secret seller" not in str(caught.value)
