"""What the demo prints and draws."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qexplorer.demo.data import DemoData
from qexplorer.demo.judge import Judgement, finds_by_source, saved
from qexplorer.demo.workers import Inbox
from qexplorer.search.dsl import MARK_END, MARK_START
from schemas import Suspect

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXAMPLES = 6
_MARKED = re.compile(f"{MARK_START}([^{MARK_START}{MARK_END}]*){MARK_END}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One moment of the run."""

    sent: int
    box: Inbox
    seconds: float
    workers: Sequence[str]

    def line(self) -> str:
        """Return the moment as one line."""
        box = self.box
        queries = sum(1 for audit in box.audits.values() if audit.searches)
        rate = len(box.suspects) / self.seconds if self.seconds else 0.0
        return (
            f"flags {len(box.results)}/{self.sent} answered · lag {self.sent - len(box.results)} · "
            f"{queries} queries run · {len(box.suspects)} suspects ({rate:.1f}/s) · {' · '.join(self.workers)}"
        )


def summary(
    console: "Console", data: DemoData, box: Inbox, ours: Judgement, rival: Judgement, *, folder: Path, seconds: float
) -> None:
    """Print the tables, the curve, examples, and where to look next."""
    console.print(_numbers(data, box, ours, rival, seconds))
    console.print(_sources(box, data))
    console.print(_curve_text(ours, rival), markup=False, highlight=False)
    for line in examples(list(box.suspects.values()), data):
        console.print(line, highlight=False, markup=True)
    console.print(
        f"\nLook next: [bold]{folder}/suspects.jsonl[/] (every suspect with its provenance), "
        f"[bold]audit.jsonl[/] (every candidate query with its fate and reason), "
        f"[bold]curve.png[/], [bold]worker-1.log[/]; README.md says how to run it on your own Kafka and OpenSearch.",
        soft_wrap=True,
    )


def _numbers(data: DemoData, box: Inbox, ours: Judgement, rival: Judgement, seconds: float) -> "RenderableType":
    from rich.table import Table

    only_ours = len(ours.found - rival.found)
    spared, refused = saved(list(box.results.values()), list(box.audits.values()))
    table = Table(title=f"QExplorer on {data.name}: judged by the ground truth", title_justify="left")
    table.add_column("")
    table.add_column("QExplorer", justify="right")
    table.add_column("text match", justify="right")
    rows: list[tuple[str, str, str]] = [
        ("seeds (flagged listings)", str(len(data.seeds)), str(len(data.seeds))),
        ("searches executed", str(ours.searches), str(rival.searches)),
        ("hits fetched", str(ours.fetched), str(rival.fetched)),
        ("suspects for review", str(ours.suspects), str(rival.suspects)),
        ("listings that they are", str(ours.reviews), str(rival.reviews)),
        ("of them prohibited (finds)", str(ours.finds), str(rival.finds)),
        ("precision", f"{ours.precision:.0%}", f"{rival.precision:.0%}"),
        ("campaigns found", str(ours.campaigns), str(rival.campaigns)),
    ]
    rows += [
        (f"finds after {least} reviews", str(_at(ours, least)), str(_at(rival, least)))
        for least in (25, 50, 100, 200)
        if least <= max(ours.reviews, rival.reviews)
    ]
    rows += [
        (
            "finds that the other misses",
            f"{only_ours} ({_share(only_ours, ours.finds)})",
            f"{len(rival.found - ours.found)} ({_share(len(rival.found - ours.found), rival.finds)})",
        ),
        ("searches saved by the query bank", str(spared), ""),
        ("candidates refused by the guard", str(refused), ""),
        ("seconds from flags to the last answer", f"{seconds:.0f}", ""),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _sources(box: Inbox, data: DemoData) -> "RenderableType":
    from rich.table import Table

    table = Table(title="Suspects by the source of their query", title_justify="left")
    for name in ("source", "suspects", "prohibited", "precision"):
        table.add_column(name, justify="left" if name == "source" else "right")
    for source, (shown, right) in finds_by_source(list(box.suspects.values()), data.truth).items():
        table.add_row(source.replace("_", " "), str(shown), str(right), _share(right, shown))
    return table


def _curve_text(ours: Judgement, rival: Judgement) -> str:
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(78, 18)
    plotext.title("Finds over reviews, best first")
    # The rival first, so that ours is on top where they meet; marks differ, for a terminal may have no colours.
    for judged, name, mark in ((rival, "text match", "·"), (ours, "QExplorer", "#")):
        if judged.curve:
            plotext.plot(list(range(1, len(judged.curve) + 1)), list(judged.curve), label=name, marker=mark)
    return str(plotext.uncolorize(plotext.build()))


def draw_curve(path: Path, data: DemoData, ours: Judgement, rival: Judgement) -> None:
    """Write the discovery curve as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), dpi=120)
    for judged, name in ((ours, "QExplorer"), (rival, "text match")):
        reviews = [0, *range(1, len(judged.curve) + 1)]
        axes.plot(reviews, [0, *judged.curve], label=f"{name}, {judged.fetched} hits fetched", linewidth=2)
    longest = max(len(ours.curve), len(rival.curve), 1)
    axes.plot([0, longest], [0, longest], linestyle=":", color="grey", label="every review a find")
    axes.set(xlabel="reviews, best first", ylabel="prohibited listings found", title=f"Discovery on {data.name}")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def examples(suspects: Sequence[Suspect], data: DemoData) -> list[str]:
    """Return a few suspects as a reviewer would see them, one for each kind of flag in turn."""
    lines = ["\n[bold]Why an item is shown[/] (the words that the query matched are marked)"]
    best = sorted(suspects, key=lambda suspect: (-len(suspect.also_found_by), -(suspect.triage_score or 0.0)))
    by_kind: dict[str, Suspect] = {}
    for suspect in best:
        # A query of the model or of the listing's own words shows more than a text match does.
        if suspect.highlights and suspect.query.source not in {"whole_text", "contact"}:
            by_kind.setdefault(suspect.seed.kind, suspect)
    for suspect in list(by_kind.values())[:EXAMPLES]:
        fragment = next(iter(suspect.highlights.values()))[0]
        score = f"{suspect.triage_score:.2f}" if suspect.triage_score is not None else "–"
        truth = data.truth.get(suspect.listing_id)
        also = "; ".join(suspect.also_found_by)
        lines += [
            f"  [cyan]{_plain(suspect.seed.kind)}[/]: the flagged “{_plain(_seed_text(suspect, data))}”",
            f"    asked “{_plain(suspect.query.text)}” ({suspect.query.source.value}) and found: {_marked(fragment)}",
            *([f"    found as well by: {_plain(also)}"] if also else []),
            f"    triage {score}, rank {suspect.rank}, truth: {truth.kind if truth else 'harmless'}",
        ]
    return lines


def _seed_text(suspect: Suspect, data: DemoData) -> str:
    seed = next((flag for flag in data.seeds if flag.flag_id == suspect.seed.flag_id), None)
    return seed.listing.text.replace("\n", " ")[:70] if seed else suspect.seed.listing_id


def _marked(fragment: str) -> str:
    # In pairs: a listing's own text may hold one of the marks, as right-to-left text does.
    parts = _MARKED.split(fragment.replace("\n", " "))
    return "".join(f"[bold yellow]«{_plain(part)}»[/]" if at % 2 else _plain(part) for at, part in enumerate(parts))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _at(judged: Judgement, reviews: int) -> int:
    """Return the finds after so many reviews; a queue that has run dry keeps its last count."""
    return judged.curve[min(reviews, len(judged.curve)) - 1] if judged.curve else 0


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"


def write_records(folder: Path, box: Inbox) -> None:
    """Write all suspects and audit records as JSONL."""
    records: Mapping[str, list[bytes]] = {
        "suspects.jsonl": [suspect.to_bytes() for suspect in box.suspects.values()],
        "audit.jsonl": [record.to_bytes() for record in (*box.audits.values(), *box.results.values())],
    }
    for name, lines in records.items():
        (folder / name).write_bytes(b"".join(line + b"\n" for line in lines))
