from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from schemas.base import Wire, WireValue

Id = Annotated[str, Field(min_length=1, max_length=512)]


class ListingStatus(StrEnum):
    """Whether buyers can see the listing."""

    ACTIVE = "active"
    SOLD = "sold"
    REMOVED = "removed"


class Price(WireValue):
    """An amount in whole units of an ISO 4217 currency."""

    amount: Annotated[float, Field(ge=0)]
    currency: Annotated[str, Field(min_length=3, max_length=3)]


class Listing(Wire):
    """One listing as the platform has it; `version` changes whenever its content does."""

    id: Id
    version: Id
    title: str = ""
    description: str = ""
    seller: str = ""
    category: str = ""
    price: Price | None = None
    locale: str = ""
    images: tuple[str, ...] = ()
    status: ListingStatus = ListingStatus.ACTIVE
    updated_at: AwareDatetime | None = None
    attributes: dict[str, str] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """Title and description as one text."""
        return f"{self.title}\n{self.description}".strip()
