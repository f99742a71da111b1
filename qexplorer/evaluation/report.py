"""A results folder as a page to read: Markdown, and one HTML file that needs nothing beside it."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape

from qexplorer.evaluation.bootstrap import ratio
from qexplorer.evaluation.charts import bars, discovery_curves, finds_by_searches, shown_methods
from qexplorer.evaluation.equal_hits import at_equal_hits
from qexplorer.evaluation.gap import MEASURES, references, shares
from qexplorer.evaluation.methods import is_upper_reference
from qexplorer.evaluation.metrics.survival import survival
from qexplorer.evaluation.results import Results, Row, SeedRow, pick
from qexplorer.evaluation.table import Table, caption, cells, markdown, markdown_table, tables

EXTREMES = 3
# One deep search: there is no telling what its first hits alone would have brought.
DEEP = ("whole_text_300", "whole_text_1000")
EQUAL_HITS = ("method", "campaigns in pool", "of a text match", "ratio [95 % interval]")
SURVIVAL = ("method", "corpus", "triage", "searches", "finds undisguised", "disguised", "share that survives")
Place = tuple[str, str, bool]
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; color: #222; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: .5rem 0 1.5rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #e5e5e5; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.reference { color: #777; }
table.seeds td { white-space: normal; text-align: left; vertical-align: top; max-width: 34rem; }
svg { max-width: 100%; height: auto; } code { background: #f4f4f4; padding: .1rem .3rem; }
@media (prefers-color-scheme: dark) { svg { background: #fff; } }
"""


def markdown_report(results: Results) -> str:
    """Return the tables of all loads, those of the kinds, and how the results were made."""
    parts = ["# Evaluation of queries", _said(results), ""]
    for place in places(results.rows):
        rows = _at(results.rows, place)
        parts += [f"## {_title(place, rows)}", ""]
        parts += [markdown(table) for table in tables(rows)]
        for load in _loads_with_kinds(rows):
            head, lines = kinds_table(pick(rows, load=load))
            parts.append(markdown_table(head, lines, f"Finds by kind of the listing, {load} searches a seed"))
        if equal := equal_hits_table(rows):
            parts.append(markdown_table(EQUAL_HITS, equal, _equal_title(rows)))
        parts += [markdown_table(*table) for table in gap_tables(rows)]
    if survived := survival_table(results.rows):
        parts.append(
            markdown_table(SURVIVAL, survived, "Finds among disguised listings ÷ finds among the same undisguised")
        )
    return "\n".join(parts)


def html_report(results: Results) -> str:
    """Return one HTML page with everything in it: tables, charts, kinds, the best and the worst seeds."""
    parts = [f"<h1>Evaluation of queries</h1><p>{escape(_said(results))}</p>"]
    for place in places(results.rows):
        rows = _at(results.rows, place)
        parts.append(f"<h2>{escape(_title(place, rows))}</h2>")
        charts: list[tuple[str, Callable[[Sequence[Row]], str]]] = [
            ("Discovery: finds by reviews", discovery_curves),
            ("What was found against what was paid", finds_by_searches),
            ("Campaigns in the pool, means over groups with 95 % intervals", bars),
        ]
        parts += [f"<h3>{title}</h3>{chart(rows)}" for title, chart in charts]
        parts += ["<h3>At equal searches</h3>", *(_html_table(table) for table in tables(rows))]
        if equal := equal_hits_table(rows):
            parts += ["<h3>At equal fetched hits</h3>", _html(EQUAL_HITS, equal, _equal_title(rows))]
        if gaps := gap_tables(rows):
            parts += ["<h3>The gap to the upper references</h3>", *(_html(*table) for table in gaps)]
        for load in _loads_with_kinds(rows):
            head, lines = kinds_table(pick(rows, load=load))
            parts.append(_html(head, lines, f"By kind of the listing found: {load} searches a seed, finds a group"))
        if any(seed.protocol == place[1] for seed in results.seeds):
            parts += ["<h3>The best and the worst seeds</h3>", *_extremes(results.seeds, place, rows)]
    if survived := survival_table(results.rows):
        parts.append("<h2>What survives disguise</h2>")
        parts.append(_html(SURVIVAL, survived, "Finds among disguised listings ÷ finds among the same undisguised"))
    made = escape(json.dumps(dict(results.meta), indent=2, ensure_ascii=False, default=str))
    parts.append(f"<h2>How it was made</h2><pre>{made}</pre>")
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Evaluation of queries</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>{body}</body></html>'
    )


def places(rows: Sequence[Row]) -> list[Place]:
    """Return each corpus with its protocol and whether a triage ordered the pool."""
    return list(dict.fromkeys((row.corpus, row.protocol, row.triage) for row in rows))


def kinds_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return head and lines of the finds a group by kind, one line a method."""
    found = {method: pick(rows, method=method) for method in dict.fromkeys(row.method for row in rows)}
    counts = {method: [json.loads(row.kinds) for row in here] for method, here in found.items()}
    kinds = sorted({kind for each in counts.values() for count in each for kind in count})
    lines = [
        [method, *(f"{sum(count.get(kind, 0) for count in each) / len(each):.1f}" for kind in kinds)]
        for method, each in counts.items()
    ]
    return ["method", *kinds], lines


def gap_tables(rows: Sequence[Row]) -> list[tuple[list[str], list[list[str]], str]]:
    """Return head, lines and title of a table for each upper reference and measure, a column a load."""
    tables = []
    for reference, measure in itertools.product(references(rows), MEASURES):
        found = shares(rows, reference, measure)
        loads = sorted({load for each in found.values() for load in each})
        lines = [
            [method, *(each[load].text(2) if load in each else "" for load in loads)] for method, each in found.items()
        ]
        head = ["method", *(f"{load} searches" for load in loads)]
        tables.append((head, lines, f"{measure} ÷ {measure.lower()} of the upper reference {reference}"))
    return tables


def survival_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return for each method and load what is left of its finds, where both protocols have run."""
    lines = []
    keys = dict.fromkeys((row.corpus, row.triage, row.method, row.load) for row in rows if row.protocol == "disguised")
    for corpus, triage, method, load in keys:
        same = pick(rows, corpus=corpus, triage=triage, method=method, load=load)
        hidden = pick(same, protocol="disguised")
        # On kinds that are held out the pool protocol is called transfer.
        plain = pick(same, protocol="pool") or pick(same, protocol="transfer")
        if len(hidden) != len(plain):
            continue
        finds = [row.finds for row in hidden], [row.finds for row in plain]
        share = replace(ratio(*finds), value=survival(sum(finds[0]), sum(finds[1])))
        means = [f"{sum(finds[1]) / len(plain):.1f}", f"{sum(finds[0]) / len(hidden):.1f}"]
        lines.append([method, corpus, "yes" if triage else "no", str(load), *means, share.text(2)])
    return lines


def equal_hits_table(rows: Sequence[Row]) -> list[list[str]]:
    """Return each method that searches at the hits of a text match; nothing where that did not run."""
    searching = {row.method for row in rows if row.hits > 0}
    return [
        [line.method, f"{line.campaigns:.1f}", f"{line.baseline:.1f}", line.ratio.text(2)]
        for line in at_equal_hits(rows)
        if line.method in searching and line.method not in DEEP
    ]


def _equal_title(rows: Sequence[Row]) -> str:
    hits = next(line.hits for line in at_equal_hits(rows))
    return f"At the {hits:.0f} hits a seed that a text match fetches, between the loads that were run"


def _loads_with_kinds(rows: Sequence[Row]) -> list[int]:
    return sorted({row.load for row in rows if row.kinds != "{}"})


def _at(rows: Sequence[Row], place: Place) -> list[Row]:
    corpus, protocol, triage = place
    return [row for row in rows if (row.corpus, row.protocol, row.triage) == (corpus, protocol, triage)]


def _title(place: Place, rows: Sequence[Row]) -> str:
    corpus, protocol, triage = place
    return f"{corpus}, part {rows[0].part}, protocol {protocol}, {'with' if triage else 'without'} a triage"


def _said(results: Results) -> str:
    openings = results.meta.get("openings") or []
    opened = ", ".join(f"{each['corpus']} for the release {each['release']}" for each in openings)
    return (
        "Every method has the same index, seeds, triage and budget; none sees a label. Upper references read labels or "
        "the whole corpus. Intervals are 95 %, by the paired bootstrap over groups of seeds. "
        + (f"The test part was opened: {opened}." if opened else "The test part was not opened.")
    )


def _html_table(table: Table) -> str:
    return _html(*cells(table), caption(table))


def _html(head: Sequence[str], lines: Sequence[Sequence[str]], title: str) -> str:
    rows = [
        f"<tr{' class=reference' if is_upper_reference(line[0]) else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in line)
        + "</tr>"
        for line in lines
    ]
    heads = "".join(f"<th>{escape(name)}</th>" for name in head)
    return (
        f'<div class="wide"><table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _extremes(seeds: Sequence[SeedRow], place: Place, rows: Sequence[Row]) -> list[str]:
    """Return for each method that charts show the seeds with the most and the fewest finds, at a middle load."""
    loads = sorted({row.load for row in rows})
    load = loads[(len(loads) - 1) // 2]
    parts = []
    for method in shown_methods(rows):
        here = [
            seed
            for seed in seeds
            if (seed.corpus, seed.protocol, seed.triage, seed.method, seed.load) == (*place, method, load)
        ]
        ranked = sorted(here, key=lambda seed: (-seed.finds, seed.hits))
        chosen = [*ranked[:EXTREMES], *ranked[EXTREMES:][-EXTREMES:]]
        lines = "".join(_seed_line(seed) for seed in chosen)
        parts.append(
            f"<details><summary>{escape(method)}, {load} searches a seed</summary>"
            f'<div class="wide"><table class="seeds"><thead><tr><th>finds</th><th>seed</th><th>queries (matches)</th>'
            f"<th>found</th></tr></thead><tbody>{lines}</tbody></table></div></details>"
        )
    return parts


def _seed_line(seed: SeedRow) -> str:
    queries = "<br>".join(
        f"<code>{escape(query)}</code> ({total})" for query, total in zip(seed.queries, seed.totals, strict=True)
    )
    found = "<br>".join(escape(text) for text in seed.found[:EXTREMES])
    return (
        f"<tr><td>{seed.finds:.0f}</td><td>{escape(seed.kind)}: {escape(seed.text)}</td>"
        f"<td>{queries or 'all in the bank already'}</td><td>{found}</td></tr>"
    )
