"""The command line: `qexplorer …`."""

import typer

from qexplorer.cli import dataset, index, models, stack, train, triage
from qexplorer.cli.demo import demo
from qexplorer.cli.evaluate import compare, evaluate
from qexplorer.cli.explore import explore, extract
from qexplorer.cli.marketplace import marketplace
from qexplorer.cli.run import run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the disguised siblings of flagged listings, for people to review.",
)
app.add_typer(index.app, name="index")
app.add_typer(triage.app, name="triage")
app.add_typer(dataset.app, name="dataset")
app.add_typer(train.app, name="train")
app.add_typer(models.app, name="models")
app.add_typer(stack.app, name="stack")
app.command()(extract)
app.command()(explore)
app.command()(demo)
app.command()(marketplace)
app.command()(evaluate)
app.command()(compare)


def main() -> None:
    """Run the command line."""
    run(app)
