"""Where each key of a TOML file stands."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.models_file.toml_lines import Keys, lines_of

ROOT = Path(__file__).parent.parent.parent.parent

WRITTEN = '''\
# [no.table] = 1
[a]
x = 1 # y = 2
"p q".'r.s' = "]"
"\\u0041" = """
[no]
no = "" \\
  \\""" ""

no = 1"""""
z = [ # no = 1
  1, [2, "]"],
  { b = 1, c.d = [{ e = 2 }, {}] },
]
[[a.upstreams]]
url = 'x'
[a.upstreams.headers]
h = \'\'\'
[no]\'\'\'
[[ a . "upstreams" ]]
[b.c]
[[b.d.e]]
[[b.d.e]]
[b]
""=1
'''


def keys_of(value: object, keys: Keys = ()) -> set[Keys]:
    """The way to each of the values in one that was read."""
    below: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        below = [*value.items()]
    elif isinstance(value, list):
        below = [*enumerate(value)]
    return {(*keys, key) for key, _ in below}.union(*(keys_of(one, (*keys, key)) for key, one in below))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_form_of_a_key(line_end: str) -> None:
    """Dotted and quoted ones, in tables, arrays of tables, inline tables and arrays; what is said in a text is none."""
    assert lines_of(WRITTEN.replace("\n", line_end)) == {
        ("a",): 2,
        ("a", "x"): 3,
        ("a", "p q"): 4,
        ("a", "p q", "r.s"): 4,
        ("a", "A"): 5,
        ("a", "z"): 11,
        ("a", "z", 0): 12,
        ("a", "z", 1): 12,
        ("a", "z", 1, 0): 12,
        ("a", "z", 1, 1): 12,
        ("a", "z", 2): 13,
        ("a", "z", 2, "b"): 13,
        ("a", "z", 2, "c"): 13,
        ("a", "z", 2, "c", "d"): 13,
        ("a", "z", 2, "c", "d", 0): 13,
        ("a", "z", 2, "c", "d", 0, "e"): 13,
        ("a", "z", 2, "c", "d", 1): 13,
        ("a", "upstreams"): 15,
        ("a", "upstreams", 0): 15,
        ("a", "upstreams", 0, "url"): 16,
        ("a", "upstreams", 0, "headers"): 17,
        ("a", "upstreams", 0, "headers", "h"): 18,
        ("a", "upstreams", 1): 20,
        ("b",): 24,
        ("b", "c"): 21,
        ("b", "d"): 22,
        ("b", "d", "e"): 22,
        ("b", "d", "e", 0): 22,
        ("b", "d", "e", 1): 23,
        ("b", ""): 25,
    }
    assert keys_of(tomllib.loads(WRITTEN)) == lines_of(WRITTEN).keys()


@pytest.mark.parametrize("name", ["pyproject.toml", "poetry.lock"])
def test_a_file_of_others(name: str) -> None:
    """All of its keys are found, and each in a line that names it."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = lines_of(text)
    assert lines.keys() == keys_of(tomllib.loads(text))
    rows = text.split("\n")
    assert [keys for keys, line in lines.items() if isinstance(keys[-1], str) and keys[-1] not in rows[line - 1]] == []


TEXTS = st.one_of(st.text("ab\"'\\#[]{}=,.\n ", max_size=6), st.sampled_from(['"""', "'''", '\\"""', '"" ""']))


def basic(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def multi_line(text: str) -> str:
    """With as many quotes as may stand there as they are."""
    return '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""'


def literal(text: str) -> str:
    return f"'''{text}'''" if "'" not in text and "\n" in text else basic(text) if "'" in text else f"'{text}'"


STRINGS = st.builds(lambda form, text: str(form(text)), st.sampled_from([basic, multi_line, literal]), TEXTS)
SCALARS = st.one_of(STRINGS, st.sampled_from(["1", "-0.5e3", "true", "1979-05-27 07:32:00", "inf"]))
BLANK = st.sampled_from(["", " ", "\n", " # ]}\n\t", "\r\n"])
ARRAYS = st.recursive(
    SCALARS,
    lambda values: st.lists(st.tuples(BLANK, values, BLANK), max_size=3).map(
        lambda found: "[" + ",".join("".join(one) for one in found) + "]"
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from(["", "[t{}]\n", "[[t]]\n", "# x = '''\n"]), ARRAYS), max_size=8))
def test_whatever_is_said(statements: list[tuple[str, str]]) -> None:
    """Each key is told the line that it was written in."""
    text, expected = "", dict[str, int]()
    for number, (before, value) in enumerate(statements):
        text += before.format(number)
        expected[f"k{number}"] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    found = lines_of(text)
    assert found.keys() == keys_of(tomllib.loads(text))
    assert {keys[-1]: line for keys, line in found.items() if str(keys[-1]).startswith("k")} == expected
