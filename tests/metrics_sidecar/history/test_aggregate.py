"""Questions that have an answer."""

import pytest

from metrics_sidecar.history.aggregate import MEASURES, SINCE_THE_BEGINNING, Ask, Measure
from metrics_sidecar.history.windows import Window


@pytest.mark.parametrize(
    ("step_minutes", "percents", "measures"),
    [(1, (), ()), (0, (99,), ()), *((0, (), (measure,)) for measure in MEASURES if measure not in SINCE_THE_BEGINNING)],
)
def test_since_the_beginning_only_some_is_known(
    step_minutes: int, percents: tuple[int, ...], measures: tuple[Measure, ...]
) -> None:
    """Of a window there is all."""

    def ask(window: Window | None) -> Ask:
        return Ask(window=window, step_minutes=step_minutes, percents=percents, measures=measures)

    with pytest.raises(ValueError, match="of a window only"):
        ask(None)
    assert ask(Window(0, 1)).measures == measures
    assert Ask(measures=SINCE_THE_BEGINNING, errors=True).window is None
