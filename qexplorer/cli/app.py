"""The command line: `qexplorer …`."""

import typer

from qexplorer.cli import index, stack
from qexplorer.cli.run import run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the disguised siblings of flagged listings, for people to review.",
)
app.add_typer(index.app, name="index")
app.add_typer(stack.app, name="stack")


def main() -> None:
    """Run the command line."""
    run(app)
