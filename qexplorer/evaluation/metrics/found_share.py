"""Yield of the reviews of one seed."""


def yield_at(campaigns: int, reviews: int, available: int) -> float:
    """Return the campaigns found as a share of what so many reviews could find at best; 0 when there are none to find.

    Listings would make it more than 1: those of a campaign are near-duplicates also through others, so that a review
    may find a second one of it.
    """
    best = min(reviews, available)
    return campaigns / best if best else 0.0
