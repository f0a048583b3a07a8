"""How often calls were tried again, and how often not for want of budget."""

from collections import Counter
from dataclasses import dataclass, field

NO_CONNECTION, NO_ROOM = "connect", "busy"


@dataclass(slots=True)
class Retries:
    """Of one worker, by reason."""

    made: Counter[str] = field(default_factory=Counter)
    denied: Counter[str] = field(default_factory=Counter)
