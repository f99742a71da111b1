"""Charts show what can be told apart."""

from qexplorer.evaluation.charts import _figure, _svg, bars, discovery_curves, finds_by_searches, shown_methods
from tests.qexplorer.evaluation.test_results import a_row


def test_the_best_of_each_side_and_the_references_are_shown() -> None:
    """Four of a model and four keyword methods, never one that fetches more hits a search; in the order they ran."""
    models = [a_row(method=f"sft{n}", campaigns=float(n)) for n in range(6)]
    words = [a_row(method=name) for name in ("own_spans", "tfidf")]
    deep = [a_row(method="whole_text_1000", campaigns=99.0, searches=1.0, hits=900.0)]
    rows = [*deep, *models, *words, a_row(method="oracle")]
    assert shown_methods(rows) == ["sft2", "sft3", "sft4", "sft5", "own_spans", "tfidf", "oracle"]


def test_charts_are_svg_with_a_panel_for_each_load() -> None:
    """A method that ran at one load only is in its panel alone."""
    rows = [a_row(method="sft"), a_row(method="sft", load=6), a_row(method="tfidf", load=6, searches=0.0, hits=0.0)]
    for chart in (discovery_curves(rows), finds_by_searches(rows), bars(rows)):
        assert chart.startswith("<svg")
        assert chart.rstrip().endswith("</svg>")
    assert discovery_curves(rows).count('id="axes_') == 2


def test_a_name_is_drawn_as_it_is() -> None:
    """Two dollars are no formula, which may be a wrong one, and a line at its beginning leaves no method out."""
    rows = [a_row(method="_own"), a_row(method=r"$\best$")]
    for chart in (discovery_curves(rows), finds_by_searches(rows), bars(rows)):
        assert "<!--  _own -->" in chart
        assert r"<!-- $\best$ -->" in chart


def test_a_legend_of_long_names_keeps_within_its_figure() -> None:
    """Whether there is one panel or four."""
    for panels in (1, 2, 4):
        figure, axes = _figure(panels, height=3.0)
        for number in range(8):
            axes[0].plot([1, 2], label=f"nearest_spans_by_foresight_{number}")
        _svg(figure, axes[0])
        (legend,) = figure.legends
        extent = legend.get_window_extent()
        assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1
