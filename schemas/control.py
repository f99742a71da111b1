from enum import StrEnum

from pydantic import AwareDatetime

from schemas.base import Wire
from schemas.listing import Id


class Command(StrEnum):
    """What the whole fleet of workers is told to do."""

    PAUSE = "pause"
    RESUME = "resume"


class Control(Wire):
    """An order to the fleet, with who gave it and why."""

    command: Command
    reason: str = ""
    issued_by: Id
    at: AwareDatetime
