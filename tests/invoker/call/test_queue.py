"""Who is next of those that wait."""

from hypothesis import given
from hypothesis import strategies as st

from invoker.call.queue import Line


def taken(line: Line[str]) -> str:
    return "".join(line.take() for _ in range(len(line)))


def test_who_came_first_goes_first() -> None:
    line: Line[str] = Line()
    for one in "abc":
        line.add(one)
    assert (line.first(), len(line), "b" in line, "x" in line) == ("a", 3, True, False)
    line.remove("b")
    line.add("d")
    assert taken(line) == "acd"
    assert len(line) == 0


def test_a_higher_priority_goes_first() -> None:
    line: Line[str] = Line()
    for one, priority in zip("abcdef", (0, 1, -1, 1, 0, -1), strict=True):
        line.add(one, priority)
    assert taken(line) == "bdaecf"


def test_flows_take_turns() -> None:
    """However many one has waiting; one that comes anew has its turn after those that are there, and one whose first
    has left keeps its turn."""
    line: Line[str] = Line()
    for one in "abcd":
        line.add(one, flow="many")
    line.add("x", flow="few")
    line.add("y", flow="few")
    assert line.take() == "a"
    line.add("n", flow="new")
    line.remove("x")
    assert taken(line) == "ybncd"


def test_the_last_of_the_lowest_priority_gives_its_place_up() -> None:
    """To a higher one only."""
    line: Line[str] = Line()
    assert line.last_below(1) is None
    for one, priority in zip("abcde", (0, -1, -1, 1, 0), strict=True):
        line.add(one, priority)
    assert [line.last_below(priority) for priority in (-1, 0, 1)] == [None, "c", "c"]
    for one in "bc":
        line.remove(one)
    assert [line.last_below(priority) for priority in (-1, 0, 1)] == [None, None, "e"]


@given(st.lists(st.tuples(st.integers(-1, 1), st.sampled_from(["", "a", "b"])), max_size=30), st.data())
def test_everyone_goes_once(places: list[tuple[int, str]], data: st.DataObject) -> None:
    """By priority; and within a flow and a priority in the order of coming, whoever leaves in between."""
    line: Line[int] = Line()
    for one, (priority, flow) in enumerate(places):
        line.add(one, priority, flow)
    gone = data.draw(st.sets(st.sampled_from(range(len(places))))) if places else set()
    for one in gone:
        line.remove(one)
    order = [line.take() for _ in range(len(line))]
    assert sorted(order) == [one for one in range(len(places)) if one not in gone]
    priorities = [places[one][0] for one in order]
    assert priorities == sorted(priorities, reverse=True)
    for place in {*places}:
        of_place = [one for one in order if places[one] == place]
        assert of_place == sorted(of_place)
