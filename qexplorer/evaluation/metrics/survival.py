"""What is left of the finds once sellers disguise their words."""


def survival(disguised: float, plain: float) -> float:
    """Return the finds among disguised listings ÷ those among the same listings undisguised; 0 without any."""
    return disguised / plain if plain else 0.0
