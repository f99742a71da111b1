"""Write the JSON Schemas of all records to schemas/json: `python -m schemas`."""

from pathlib import Path

import orjson

from schemas import (
    Control,
    DeadLetter,
    FlaggedListing,
    FlagResult,
    Listing,
    QueryAudit,
    Retraction,
    Suspect,
    Verdict,
    Wire,
)

RECORDS: tuple[type[Wire], ...] = (
    Listing,
    FlaggedListing,
    QueryAudit,
    FlagResult,
    Suspect,
    Verdict,
    Retraction,
    Control,
    DeadLetter,
)
FOLDER = Path(__file__).parent / "json"


def exported() -> dict[str, bytes]:
    """Return file name → JSON Schema of every record."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return {
        f"{record.__name__}.v{record.major}.json": orjson.dumps(record.model_json_schema(), option=options)
        for record in RECORDS
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in exported().items():
        (FOLDER / name).write_bytes(text)
