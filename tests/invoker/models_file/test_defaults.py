"""What tables of the models file don't say themselves."""

from pathlib import Path
from typing import get_args

import pytest

from invoker.models_file.reading import load_models
from invoker.models_file.tables import Defaults, Manner, Protocol
from invoker.routing.models import Models
from invoker.routing.prices import Prices
from shared.settings import StartupError
from tests.invoker.models_file.test_reading import UP, settings, written

TEXT = f"""
["*".defaults]
timeout = 10
retries = 2
usage = "as_is"
limits = {{ max_in_flight = 5 }}
["*".defaults.openai]
first_token = 3
timeout = 11
[m]
{UP}
[o]
{UP}protocol = "openai"
timeout = 12
usage = "ask"
limits = {{}}
["team/*"]
{UP}
["team/*".defaults]
timeout = 20
usage = "ask"
["team/a"]
{UP}protocol = "openai"
["team/\\\\*"]
{UP}
[defaults]
{UP}
"""


def test_there_may_be_some_for_each_protocol() -> None:
    """None that a table may have is left out."""
    assert {*get_args(Protocol)} == {*Defaults.__struct_fields__} - {*Manner.__struct_fields__}


def found(models: Models, model_id: str, protocol: str = "worklet") -> tuple[object, ...]:
    model = models.find(model_id, protocol)
    assert model is not None
    return (
        model.timeout_s,
        model.retries,
        model.first_token_s,
        model.asks_usage,
        model.limit and model.limit.max_in_flight,
    )


def test_what_a_table_does_not_say_its_defaults_do(tmp_path: Path) -> None:
    """Those of a longer pattern before those of a shorter, of the same those of its protocol before the common ones,
    and its own values before all; where the settings say where to, those of all ids count."""
    models = load_models(settings(written(tmp_path, TEXT)))
    assert found(models, "m") == (10, 2, None, False, 5)
    assert found(models, "o", "openai") == (12, 2, 3, True, None)
    assert found(models, "team/x") == (20, 2, None, True, 5)
    assert found(models, "team/a", "openai") == (20, 2, 3, True, 5)
    assert found(models, "team/*") == (20, 2, None, True, 5)
    assert found(models, "other") == (10, 2, None, False, 5)
    assert found(models, "other", "openai") == (11, 2, 3, False, 5)
    assert found(models, "other", "anthropic") == (10, 2, None, False, 5)


def test_they_are_no_model(tmp_path: Path) -> None:
    """A pattern that has nothing else sends nothing anywhere, and a model may be called as they are."""
    models = load_models(settings(written(tmp_path, TEXT), upstream_url=""))
    assert models.find("other") is None
    assert models.names == ["m", "team/*", "defaults", "o", "team/a"]
    assert found(models, "defaults") == (10, 2, None, False, 5)


def test_a_limit_is_each_ones_own(tmp_path: Path) -> None:
    """Of a table, and of each place that the settings name: none counts another's calls."""
    keys = [key for key, _ in load_models(settings(written(tmp_path, TEXT))).limits()]
    assert len({*keys}) == len(keys) == 9


def test_prices_are_given_as_a_whole(tmp_path: Path) -> None:
    """Those of a table have nothing of its defaults' in them."""
    text = f'["*".defaults.worklet]\nprices = {{ input = 1, request = 2 }}\n[a]\n{UP}[b]\n{UP}prices = {{ output = 1 }}'
    models = load_models(settings(written(tmp_path, text)))
    assert [getattr(models.find(name), "prices", None) for name in "ab"] == [
        Prices(10**12, 10**12, request=2 * 10**18),
        Prices(output=10**12, reasoning=10**12),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"[a]\n{UP}[a.defaults]\ntimeout = 1", "3: [a] defaults: only the table of a pattern, such as 'team/*', has "),
        ("[a.defaults]\ntimeout = 1", "1: [a] defaults: only the table of a pattern, such as 'team/*', has them"),
        ('["*".defaults]\ntimeout = 0', '2: ["*"] defaults.timeout: 0 is not a number above 0'),
        ('["*".defaults]\nupstream = "http://host/"', '2: ["*"] defaults.upstream: there is no such field; there are '),
        ('["*".defaults.openai]\nopenai = {}', '2: ["*"] defaults.openai.openai: there is no such field'),
        ('["*".defaults]\nprices = { x = 1 }', '2: ["*"] defaults.prices.x: there is no such field'),
        ('["*".defaults.openai]\nprices = { input = -1 }', '2: ["*"] defaults.openai.prices.input: -1 is no number'),
        ('["*"]\ndefaults = 1', '2: ["*"] defaults: 1 is not a table'),
        ('["*"]\ntimeout = 1', '1: ["*"]: there is neither upstream, a URL'),
        ("[timeout]", "1: [timeout]: there is neither"),
    ],
)
def test_wrong_ones_are_told_once(tmp_path: Path, text: str, said: str) -> None:
    """Where they stand, however many tables have them."""
    path = written(tmp_path, f"{text}\n[c]\n{UP}\n[d]\n{UP}")
    with pytest.raises(StartupError) as error:
        load_models(settings(path))
    assert len(error.value.args) == 1
    assert f"INVOKER_MODELS_FILE: {path}:{said}" in str(error.value)
