"""What the parent makes of a models file that changes, and what workers then find."""

import gc
import pickle
from pathlib import Path

import pytest

from invoker.models_file.reading import Checked, check_models
from invoker.process import snapshot
from invoker.process.common import Common
from invoker.process.snapshot import ModelsFile, Snapshot, Swapping
from invoker.settings import InvokerSettings
from tests.invoker.fakes import FakeClock

GOOD = "[m]\nupstream = 'http://host/'\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(GOOD)
    return path


def followed(path: Path) -> tuple[ModelsFile, Swapping, list[Snapshot]]:
    """The parent's, a worker's, and what that one was given."""
    common, given = Common(1), list[Snapshot]()
    file = ModelsFile(InvokerSettings(models_file=path), common.models, common.tallies, FakeClock())
    return file, Swapping(common.models, given.append), given


def test_each_change_is_given_once(path: Path) -> None:
    """A wrong file leaves the models of before, and says why; one that is gone is wrong, too."""
    file, swapping, given = followed(path)
    for _ in range(2):
        file.look()
        swapping.look()
    assert given == []
    for text, names in (
        (GOOD + "[n]\nupstream = 'http://host/'\n", ["m", "n"]),
        ("[", ["m", "n"]),
        (None, ["m", "n"]),
        (GOOD, ["m"]),
    ):
        path.unlink() if text is None else path.write_text(text)
        for _ in range(2):
            file.look()
            swapping.look()
        assert given[-1].models.names == names
        assert bool(given[-1].refused) == (text is None or text == "[")
    assert len(given) == 4


def test_a_defect_of_ours_is_told_and_nothing_else_happens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's end would be that of all workers."""
    file, swapping, given = followed(path)

    def fail(_settings: InvokerSettings) -> None:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(snapshot, "check_models", fail)
    path.write_text(GOOD + "# changed")
    file.look()
    swapping.look()
    assert given[-1].refused.endswith(
        "it can't be checked: ZeroDivisionError; the log says where"
    )  # values may be secret
    assert given[-1].models.names == ["m"]
    monkeypatch.undo()
    file.look(asked=True)
    swapping.look()
    assert given[-1].refused == ""


def test_no_garbage_is_looked_for_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large file there would be much to look through, and again and again; nor is it given up for good."""
    file, swapping, given = followed(path)
    searched = []

    def check(settings: InvokerSettings) -> Checked:
        searched.append(gc.isenabled())
        return check_models(settings)

    def loads(pickled: bytes) -> object:
        searched.append(gc.isenabled())
        return loaded(pickled)

    loaded = pickle.loads
    monkeypatch.setattr(snapshot, "check_models", check)
    monkeypatch.setattr(pickle, "loads", loads)
    for text in (GOOD + "# changed", "["):
        path.write_text(text)
        file.look()
        swapping.look()
        assert gc.isenabled()
    assert (len(given), searched) == (2, [False] * 4)
