"""Words of a filter, as the domain understands them."""

import pytest

from metrics_sidecar.parameters.filters import split_models


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["b", "a", "b"], (("b", "a"), ())),
        (["a*", "b"], (("b",), ("a",))),
        ([r"a\*"], (("a*",), ())),
        ([r"a\\*"], ((), ("a\\",))),
        ([r"a\\\*", r"\a\b"], ((r"a\*", r"\a\b"), ())),
        (["a" * 255 + r"\*"], (("a" * 255 + "*",), ())),
        (["\\" * 512 + "*"], ((), ("\\" * 256,))),
        (["a**"], ((), ("a*",))),
        (["*a", "a*b"], (("*a", "a*b"), ())),
        (["a", "*"], ((), ())),
    ],
)
def test_a_star_at_the_end_is_any_ending(
    patterns: list[str], expected: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    """And with a backslash before it, it is a star, and two are a backslash; elsewhere each is what it is."""
    assert split_models(patterns) == expected
