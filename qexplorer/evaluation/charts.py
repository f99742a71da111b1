"""The charts of a report, as SVG that stands in the page itself."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from qexplorer.evaluation.bootstrap import mean
from qexplorer.evaluation.budget import HITS
from qexplorer.evaluation.methods import METHODS, is_upper_reference
from qexplorer.evaluation.results import Row, pick

# Okabe and Ito's palette: told apart also by those who see fewer colours.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a8a00")
MOST = len(COLOURS)


def shown_methods(rows: Sequence[Row]) -> list[str]:
    """Return the methods that charts show: the best four of a model, the best four others, the upper references.

    Best is by campaigns over all loads. A method that fetches more hits a search than the others is in the tables only.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.method, []).append(row)
    references = {name for name in found if is_upper_reference(name)}
    deep = {name for name, here in found.items() if any(row.hits > row.searches * HITS for row in here)}
    best = sorted(set(found) - references - deep, key=lambda name: -_mean(found[name], "campaigns"))
    of_a_model = [name for name in best if name not in METHODS][: MOST // 2]
    others = [name for name in best if name in METHODS][: MOST // 2]
    return [name for name in found if name in {*of_a_model, *others, *references}]


def discovery_curves(rows: Sequence[Row]) -> str:
    """Return finds by reviews, a panel a load: means over groups."""
    loads = sorted({row.load for row in rows})
    figure, axes = _figure(len(loads), height=3.4)
    styles = _styles(rows)
    for axis, load in zip(axes, loads, strict=True):
        for method, style in styles.items():
            curves = [row.curve for row in pick(rows, method=method, load=load)]
            if curves:
                points = [sum(values) / len(values) for values in zip(*curves, strict=True)]
                axis.plot(range(1, len(points) + 1), points, label=_plain(method), **style)
        axis.set(title=f"{load} searches a seed", xlabel="reviews", ylabel="finds")
    return _svg(figure, axes[0])


def finds_by_searches(rows: Sequence[Row]) -> str:
    """Return what was found against the searches and against the hits that were paid for it."""
    figure, axes = _figure(2, height=3.8)
    for axis, cost in zip(axes, ("searches", "hits"), strict=True):
        for method, style in _styles(rows).items():
            points = sorted(
                (_mean(here, cost), _mean(here, "campaigns"))
                for load in sorted({row.load for row in rows})
                if (here := pick(rows, method=method, load=load))
            )
            axis.plot(*zip(*points, strict=True), marker="o", markersize=4, label=_plain(method), **style)
        axis.set(xlabel=f"{cost} a seed", ylabel="campaigns in pool")
        # Linear near nothing, for what searches nothing has its place too.
        axis.set_xscale("symlog", linthresh=3)
        axis.xaxis.set_major_formatter("{x:g}")
    return _svg(figure, axes[0])


def bars(rows: Sequence[Row]) -> str:
    """Return campaigns in the pool with their 95 % intervals, a panel a load."""
    loads = sorted({row.load for row in rows})
    methods = list(dict.fromkeys(row.method for row in rows))[::-1]
    figure, axes = _figure(len(loads), height=1.0 + 0.24 * len(methods), share_y=True)
    styles = _styles(rows)
    for axis, load in zip(axes, loads, strict=True):
        for place, method in enumerate(methods):
            values = [row.campaigns for row in pick(rows, method=method, load=load)]
            if not values:
                continue
            interval = mean(values)
            colour = styles[method]["color"] if method in styles else "#999999"
            error = [[interval.value - interval.low], [interval.high - interval.value]]
            axis.barh(place, interval.value, color=colour, xerr=error, ecolor="#333333", capsize=2, height=0.7)
        axis.set(title=f"{load} searches a seed", xlabel="campaigns in pool")
        axis.set_yticks(range(len(methods)), [_plain(method) for method in methods], fontsize=7)
    return _svg(figure, None)


def _plain(name: str) -> str:
    """Return a name as a label that is drawn as it is: no formula, and none that a legend leaves out."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _mean(rows: Sequence[Row], name: str) -> float:
    return sum(float(getattr(row, name)) for row in rows) / len(rows)


def _styles(rows: Sequence[Row]) -> Mapping[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    plain = 0
    for method in shown_methods(rows):
        if is_upper_reference(method):
            styles[method] = {"color": "#777777", "linestyle": (0, (2, 1 + len(styles) % 3)), "linewidth": 1.2}
        else:
            styles[method] = {"color": COLOURS[plain % MOST], "linewidth": 1.6}
            plain += 1
    return styles


def _figure(columns: int, *, height: float, share_y: bool = False) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 3.3 * columns), height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = list(figure.subplots(1, columns, squeeze=False, sharey=share_y)[0])
    for axis in axes:
        axis.grid(visible=True, color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any, legend_of: Any) -> str:
    """Return the figure as an SVG element, with the legend of one panel for all of them below."""
    if legend_of is not None:
        handles, labels = legend_of.get_legend_handles_labels()
        # As many columns as have room: the longest names are some 2.6 inches wide.
        columns = max(1, int(figure.get_figwidth() // 2.6))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
