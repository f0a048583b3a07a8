"""What tables of the models file don't say themselves: said once, for all of them or for those of a pattern.

It stands in a pattern's table, as `["*".defaults]`: what names a field can't be a model id, too. The longer pattern
counts before the shorter one, and what is for one protocol before what is for all, value by value.
"""

from collections.abc import Mapping
from typing import get_args

from invoker.models_file.allowed import read_table
from invoker.models_file.doubts import doubt_manner
from invoker.models_file.findings import Place
from invoker.models_file.tables import Defaults, Manner, Protocol
from invoker.routing.prices import PricesError, parse_prices

Values = Mapping[str, object]


class Inherited:
    """Of one file."""

    def __init__(self) -> None:
        self._given: dict[str, Values] = {}
        self._places: dict[tuple[str, ...], Place] = {}  # by prefix, and protocol if it is for one
        self._used: set[tuple[str, ...]] = set()

    def add(self, prefix: str, written: object, place: Place) -> None:
        """For ids and patterns that begin so. What is wrong is told, once."""
        defaults = read_table(Defaults, written, place)
        if defaults is None:
            return
        check_prices(defaults, place)
        self._places[(prefix,)] = place
        for protocol in get_args(Protocol):
            if (manner := getattr(defaults, protocol)) is not None:
                self._places[prefix, protocol] = within = place.at(protocol)
                check_prices(manner, within)
                doubt_manner(manner, manner_fields(written, protocol), protocol, within)
        if not place.has_errors:
            assert isinstance(written, dict)  # it was read
            self._given[prefix] = written

    def of(self, name: str, protocol: str) -> dict[str, object]:
        """What a table of this name and protocol has, unless it says it itself."""
        found: dict[str, object] = {}
        for length in sorted({len(prefix) for prefix in self._given}):
            prefix = name[:length]
            values = self._given.get(prefix, {})
            found |= {field: value for field, value in values.items() if field not in get_args(Protocol)}
            found |= manner_fields(values, protocol)
            self._used |= {(prefix,), (prefix, protocol)}
        return found

    def doubt(self) -> None:
        """Warn of those that no table has. Those of all ids are those of what no table names, too."""
        for key, place in self._places.items():
            if key[0] and key not in self._used and (len(key) == 1 or key[:1] in self._used):
                place.warn(
                    f"has no effect: no table {f'of {key[1]} ' if len(key) > 1 else ''}has a name that begins so"
                )


def manner_fields(written: object, protocol: str) -> dict[str, object]:
    """What is said for this protocol alone."""
    found = written.get(protocol) if isinstance(written, dict) else None
    return found if isinstance(found, dict) else {}


def check_prices(manner: Manner, place: Place) -> None:
    """What is wrong with them is told."""
    try:
        if manner.prices is not None:
            parse_prices(manner.prices)
    except PricesError as error:
        for name, problem in error.problems.items():
            place.at("prices", *filter(None, [name])).error(problem)
