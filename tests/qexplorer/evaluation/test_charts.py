"""Charts show what can be told apart."""

from qexplorer.evaluation.charts import bars, discovery_curves, finds_by_searches, shown_methods
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
