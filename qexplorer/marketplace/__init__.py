"""A synthetic second-hand marketplace whose prohibited listings are known."""

from qexplorer.marketplace.listings import generate
from qexplorer.marketplace.words import Half

__all__ = ["Half", "generate"]
