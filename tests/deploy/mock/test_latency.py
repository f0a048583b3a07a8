"""Latency distributions are read from text, drawn within their bounds, and refused clearly."""

from random import Random
from statistics import median

import pytest

from deploy.mock.latency import Fixed, Latency, Lognormal, Uniform, parse_latency


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fixed:0ms", Fixed(0.0)),
        ("fixed:1.5s", Fixed(1.5)),
        ("fixed:250us", Fixed(0.00025)),
        ("uniform:10ms,50ms", Uniform(0.01, 0.05)),
        ("lognormal:120ms,0.5", Lognormal(0.12, 0.5)),
        ("lognormal: 1s, 0", Lognormal(1.0, 0.0)),
    ],
)
def test_each_distribution_is_read_from_its_text(text: str, expected: Latency) -> None:
    """What the help says can be written."""
    assert parse_latency(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "fixed", "fixed:", "fixed:5", "fixed:-5ms", "fixed:1ms,2ms", "fixed:2h", "fixed:3601s"),
        *("uniform:50ms,10ms", "uniform:1ms", "lognormal:1ms", "lognormal:1ms,4", "lognormal:1ms,nan"),
        *("gauss:1ms,1", "fixed:٣ms"),
    ],
)
def test_any_other_text_is_refused_with_what_is_allowed(text: str) -> None:
    """The message names the text and each distribution."""
    with pytest.raises(ValueError, match="is not fixed:TIME, uniform:FROM,TO or lognormal:") as caught:
        parse_latency(text)
    assert str(caught.value).startswith(repr(text))


def test_draws_follow_their_distribution() -> None:
    """A uniform draw stays between its bounds, and half of the lognormal draws are under the median."""
    random = Random(1)
    uniform = [Uniform(0.01, 0.05).draw(random) for _ in range(1000)]
    assert min(uniform) >= 0.01
    assert max(uniform) <= 0.05
    assert median(Lognormal(0.1, 0.5).draw(random) for _ in range(10_001)) == pytest.approx(0.1, rel=0.05)
    assert Fixed(0.02).draw(random) == 0.02
    assert max(Lognormal(3600.0, 3.0).draw(random) for _ in range(100)) == 3600.0
