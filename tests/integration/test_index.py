"""Two ways in, on real OpenSearch: an index of ours that is loaded, and one that the platform already has."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from qexplorer.search.backend import SearchRequest
from qexplorer.search.client import OpenSearchClient
from qexplorer.settings import IndexFields, IndexSettings, SearchSettings
from qexplorer.stack import Endpoints

ROWS = [{"id": f"r{n}", "title": f"plug gummies w{n}a w{n}b w{n}c", "lang": "en"} for n in range(5)]


class Place:
    """A folder, an OpenSearch, and the command line."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.index = url, folder, f"i-{uuid4().hex[:10]}"

    def run(self, *arguments: str, **settings: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command with settings from a file, and return how it ended."""
        config = self.folder / "settings.yaml"
        config.write_text(yaml.safe_dump({**settings, "search": {**settings.get("search", {}), "url": self.url}}))
        command = [sys.executable, "-c", "from qexplorer.cli.app import main; main()", *arguments]
        return subprocess.run(  # noqa: S603 - our own arguments
            [*command, "--config", str(config)], capture_output=True, text=True, check=False, timeout=120,
            cwd=self.folder,
            env={"QEXPLORER_CACHE": str(self.folder / "cache"), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    async def ids(self) -> set[str]:
        """Return the ids of all listings in the index."""
        async with OpenSearchClient(SearchSettings(url=self.url)) as client:
            answer = await client.request("POST", f"/{self.index}/_search", {"size": 100})
        return {hit["_id"] for hit in answer["hits"]["hits"]}


@pytest.fixture
def place(engines: Endpoints, tmp_path: Path) -> Place:
    return Place(str(engines.opensearch), tmp_path)


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_jsonl_csv_and_parquet_are_loaded_alike(place: Place) -> None:
    """The three formats lead to the same listings, foreign column names mapped."""
    renamed = [{"sku": f"{row['id']}-{kind}", "text": row["title"]} for row in ROWS for kind in ("csv", "pq")]
    jsonl = write_jsonl(place.folder / "a.jsonl", ROWS)
    csv = place.folder / "b.csv"
    csv.write_text("sku,text\n" + "".join(f"{row['sku']},{row['text']}\n" for row in renamed[::2]))
    parquet = place.folder / "c.parquet"
    pq.write_table(pa.Table.from_pylist(renamed[1::2]), parquet)
    fields = ("--field", "id=sku", "--field", "title=text")
    for arguments in ((str(jsonl),), (str(csv), *fields), (str(parquet), *fields)):
        done = place.run("index", "load", *arguments, "--index", place.index)
        assert done.returncode == 0, done.stderr
        assert "5 loaded, 0 refused" in done.stderr
    assert await place.ids() == {row["id"] for row in ROWS} | {row["sku"] for row in renamed}


async def test_bad_rows_are_named_one_line_each_and_the_others_loaded(place: Place) -> None:
    """A rejects file says row and reason; nothing is lost in silence."""
    source = place.folder / "mixed.jsonl"
    lines = [
        json.dumps(ROWS[0]), "{broken", json.dumps([1]), json.dumps({"title": "no id"}),
        json.dumps({"id": "p1", "title": "x", "status": "lost"}), json.dumps(ROWS[1]),
    ]  # fmt: skip
    source.write_text("\n".join(lines) + "\n")
    done = place.run("index", "load", str(source), "--index", place.index)
    assert "2 loaded, 4 refused" in done.stderr
    rejects = [json.loads(line) for line in (place.folder / "mixed.jsonl.rejects").read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == [2, 3, 4, 5]
    assert "id: Field required" in rejects[2]["problem"]
    assert "status" in rejects[3]["problem"]
    assert await place.ids() == {"r0", "r1"}


async def test_a_pipe_for_refused_rows_is_left_alone(place: Place) -> None:
    """`--rejects /dev/null` names a device, which an empty file of ours must not be taken for."""
    pipe = place.folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    source = write_jsonl(place.folder / "a.jsonl", ROWS)
    done = place.run("index", "load", str(source), "--index", place.index, "--rejects", str(pipe))
    os.close(reader)
    assert "5 loaded, 0 refused" in done.stderr
    assert pipe.is_fifo()


async def test_a_load_goes_on_where_it_stopped(place: Place) -> None:
    """A second run of the same input skips what is safe in the index; `--again` does not."""
    source = write_jsonl(place.folder / "a.jsonl", ROWS)
    place.run("index", "load", str(source), "--index", place.index)
    assert (
        "0 loaded, 0 refused, 5 had been loaded"
        in place.run("index", "load", str(source), "--index", place.index).stderr
    )
    assert "5 loaded" in place.run("index", "load", str(source), "--index", place.index, "--again").stderr


async def test_a_load_that_would_index_something_else_starts_anew(place: Place) -> None:
    """An index that was deleted is filled again; so is one with columns named wrongly, or without a contact key."""
    source = write_jsonl(place.folder / "a.jsonl", [{**row, "body": "wickr plug7788"} for row in ROWS])
    load = ("index", "load", str(source), "--index", place.index)
    assert "5 loaded" in place.run(*load).stderr
    async with OpenSearchClient(SearchSettings(url=place.url)) as client:
        await client.request("DELETE", f"/{place.index}")
    assert "5 loaded" in place.run(*load).stderr
    assert await place.ids() == {row["id"] for row in ROWS}
    assert "5 loaded" in place.run(*load, "--field", "description=body").stderr
    assert "5 loaded" in place.run(*load, "--field", "description=body", explore={"contact_key": "secret"}).stderr
    assert (
        "5 had been loaded" in place.run(*load, "--field", "description=body", explore={"contact_key": "secret"}).stderr
    )


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(("nowhere.jsonl",), 4, "nowhere.jsonl does not exist", id="no file"),
        pytest.param(("a.xlsx",), 4, "a.xlsx is of no known format", id="format"),
        pytest.param(("a.jsonl.gz",), 3, "a.jsonl.gz is a broken gzip file", id="broken gzip"),
        pytest.param(("a.parquet",), 3, "a.parquet is no Parquet file", id="broken Parquet"),
        pytest.param(("a.xlsx", "--field", "titel=x"), 4, "--field titel=x is not of the form", id="field"),
    ],
)
def test_input_that_cannot_be_read_is_named(place: Place, arguments: tuple[str, ...], code: int, says: str) -> None:
    """One clear line, a remedy, an exit code of its own kind, no traceback."""
    for name in ("a.xlsx", "a.jsonl.gz", "a.parquet"):
        (place.folder / name).write_bytes(b"junk")
    done = place.run("index", "load", *arguments, "--index", place.index)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


FOREIGN = {
    "mappings": {
        "properties": {
            "ids": {"properties": {"sku": {"type": "keyword"}}},
            "texts": {"properties": {"headline": {"type": "text"}, "body": {"type": "text"}}},
            "owner": {"type": "keyword"},
            "live": {"type": "boolean"},
        }
    }
}
FOREIGN_SETTINGS: dict[str, Any] = {
    "filters": [{"term": {"live": True}}],
    "fields": {
        "id": "ids.sku", "version": "", "title": "texts.headline", "description": "texts.body",
        "text": ["texts.headline", "texts.body"], "normalised": "", "contacts": "", "seller": "owner", "locale": "",
        "updated_at": "",
    },
}  # fmt: skip


async def a_platform(place: Place) -> None:
    """Make an index as a platform might have it, with fields of its own."""
    async with OpenSearchClient(SearchSettings(url=place.url)) as client:
        await client.ensure_index(place.index, FOREIGN)
        for number, (headline, live) in enumerate(
            [("plug gummies fresh", True), ("plug gummies sold", False), ("garden chair", True), ("other thing", True)]
        ):
            source = {"ids": {"sku": f"s{number}"}, "texts": {"headline": headline}, "owner": "o7", "live": live}
            await client.request("PUT", f"/{place.index}/_doc/{number}", source)
        await client.request("POST", f"/{place.index}/_refresh")


async def test_a_platforms_own_index_is_explored_and_not_written_to(place: Place) -> None:
    """Settings name its fields, filters and id; suspects come out with its ids, and its documents stay as they were."""
    await a_platform(place)
    flags = write_jsonl(
        place.folder / "f.jsonl",
        [{"id": "x", "title": "plug gummies today", "kind": "drugs", "updated_at": "2020-01-01T00:00:00Z"}],
    )
    done = place.run(
        "explore", str(flags), "--model", "scripted", "--index", place.index,
        search={"indices": {place.index: FOREIGN_SETTINGS}},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (suspect,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (suspect["listing_id"], suspect["seller"], suspect["highlights"].keys()) == (
        "s0", "o7", {"texts.headline"},
    )  # fmt: skip
    assert await place.ids() == {"0", "1", "2", "3"}


async def test_check_says_what_works_and_what_is_missing(place: Place) -> None:
    """With the right settings the index can be explored, and what it lacks is said with its consequence."""
    await a_platform(place)
    done = place.run("index", "check", place.index, search={"indices": {place.index: FOREIGN_SETTINGS}})
    assert done.returncode == 0, done.stderr
    assert "works text field texts.headline" in done.stdout
    assert "works title and description: 3 of 3 listings have a text" in done.stdout
    assert "lacks normalised: disguised words (leet, homoglyphs, spacing) are not found" in done.stdout
    assert "works filters: they leave 3 of 4 listings" in done.stdout


async def test_check_refuses_settings_that_cannot_work(place: Place) -> None:
    """Fields that the index does not have are named, and the exit code says so."""
    await a_platform(place)
    done = place.run("index", "check", place.index)
    assert done.returncode == 4
    assert "fails text field title: the index does not have it" in done.stdout
    assert f"Mend search.indices.{place.index}" in done.stderr


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param(
            {"title": "headline", "text": ["texts.headline"]},
            "fails title and description: no listing has either",
            id="no text to show",
        ),
        pytest.param({"updated_at": "changed"}, "fails updated at field changed: it is a long", id="no date"),
        pytest.param({"text": ["offers.body"]}, "fails text field offers.body: it is a nested text", id="nested"),
    ],
)
async def test_check_refuses_what_would_find_nothing_to_show(place: Place, fields: dict[str, Any], says: str) -> None:
    """A search would work, and no listing ever be shown: its text is not read, or its words are never found."""
    nested = {"type": "nested", "properties": {"body": {"type": "text"}}}
    mappings = {"properties": {"offers": nested, "changed": {"type": "long"}}}
    async with OpenSearchClient(SearchSettings(url=place.url)) as client:
        await client.ensure_index(place.index, {"mappings": mappings})
        source = {"texts": {"headline": "plug gummies"}, "ids": {"sku": "s0"}, "offers": [{"body": "zaza"}]}
        await client.request("PUT", f"/{place.index}/_doc/1", source, {"refresh": "true"})
    settings = {"filters": [], "fields": {**FOREIGN_SETTINGS["fields"], "id": "", **fields}}
    done = place.run("index", "check", place.index, search={"indices": {place.index: settings}})
    assert done.returncode == 4, done.stdout
    assert says in done.stdout


@pytest.mark.parametrize("form", ["epoch_millis", "yyyy-MM-dd HH:mm:ss", "strict_date_optional_time"])
async def test_what_is_new_is_found_however_the_platform_writes_its_dates(place: Place, form: str) -> None:
    """A query that has run before asks for what has changed since, by a field whose format is not ours."""
    now = datetime(2026, 7, 1, 12, tzinfo=UTC)
    written = {"epoch_millis": int(now.timestamp() * 1000), "yyyy-MM-dd HH:mm:ss": f"{now:%Y-%m-%d %H:%M:%S}"}
    fields = IndexFields(id="", version="", normalised="", text=("title",), updated_at="changed")
    settings = SearchSettings(url=place.url, indices={place.index: IndexSettings(fields=fields, filters=())})
    found = []
    async with OpenSearchClient(settings) as client:
        mappings = {"properties": {"title": {"type": "text"}, "changed": {"type": "date", "format": form}}}
        await client.ensure_index(place.index, {"mappings": mappings})
        source = {"title": "plug gummies", "changed": written.get(form, now.isoformat())}
        await client.request("PUT", f"/{place.index}/_doc/1", source, {"refresh": "true"})
        for since in (now - timedelta(minutes=1), now + timedelta(minutes=1)):
            request = SearchRequest(index=place.index, text="plug", normalised="plug", since=since)
            found += await client.search([request])
    assert [(result.total, result.problem) for result in found] == [(1, None), (0, None)]


def test_a_missing_index_is_named(place: Place) -> None:
    """The name of the index stands in the error."""
    done = place.run("index", "check", "nowhere")
    assert done.returncode == 4
    assert "nowhere" in done.stderr


def test_pipes_work() -> None:
    """`extract` reads standard input and writes standard output, one line a flag; bad lines are named on stderr."""
    command = f"{sys.executable} -c 'from qexplorer.cli.app import main; main()' extract --model scripted"
    lines = json.dumps({"id": "x", "title": "plug gummies", "kind": "drugs"}) + "\nbroken\n" + json.dumps(
        {"id": "y", "title": "sauce pens", "kind": "unheard-of"}
    )  # fmt: skip
    done = subprocess.run(  # noqa: S602 - a pipe is what is tested
        command, shell=True, input=lines, capture_output=True, text=True, check=True, timeout=60
    )
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert line["flag_id"] == "flag-x"
    assert "plug gummies" in {query["text"] for query in line["queries"]}
    assert "row 2 left out: not JSON" in done.stderr
    assert "row 3 left out: no policy takes the kind unheard-of" in done.stderr
