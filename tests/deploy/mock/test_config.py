"""A behaviour given as a flag or as JSON is the same, and what is wrong in it is named."""

import re

import msgspec
import pytest

from deploy.mock.config import Behaviour, Config, decode_behaviour, decode_config, fate, parse_override
from deploy.mock.latency import Fixed, Uniform

FIXED = '"latency": "fixed:1ms"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpt-3.5=lognormal:120ms,0.5;failure=0.02", ("gpt-3.5", Behaviour("lognormal:120ms,0.5", 0.02))),
        ("meta/llama=failure=1", ("meta/llama", Behaviour(None, 1.0))),
        ("m=fixed:1ms", ("m", Behaviour("fixed:1ms", None))),
    ],
)
def test_a_flag_overrides_one_model(text: str, expected: tuple[str, Behaviour]) -> None:
    """Each part of the text is optional, but not all."""
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("=fixed:1ms", "model: '' is n"),
        ("m", "'m' is not MODEL=LATENCY"),
        ("m=", "'m=' is not MODEL=LATENCY"),
        ("m=failure=2", "failure: '2' is not a rate from 0 to 1"),
        ("m=failure=nan", "failure: 'nan' is not a rate from 0 to 1"),
        ("m=fixed:x", "'fixed:x' is not fixed:TIME"),
    ],
)
def test_a_wrong_flag_is_refused(text: str, message: str) -> None:
    """The message names the part that is wrong."""
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_override(text)


def test_a_model_takes_from_the_default_what_it_does_not_override() -> None:
    """An override of the failure rate alone keeps the default's latency, and the other way round."""
    config = Config("uniform:1ms,2ms", failure_rate=0.1)
    own_rate = fate(config, Behaviour(failure_rate=0.0))
    own_latency = fate(config, Behaviour(latency="fixed:1s"))
    assert (own_rate.latency, own_rate.failure_rate) == (Uniform(0.001, 0.002), 0.0)
    assert (own_latency.latency, own_latency.failure_rate) == (Fixed(1.0), 0.1)


def test_a_configuration_survives_json() -> None:
    """What `GET /config` shows can be given back to `PUT /config`."""
    config = Config("fixed:1ms", 0.25, 7, {"a": Behaviour("fixed:2ms"), "b": Behaviour(None, 1.0)})
    assert decode_config(msgspec.json.encode(config)) == config


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[]", "the body: Expected `object`, got `array`"),
        ("{}", "the body: Object missing required field `latency`"),
        ('{"latency": 5}', "latency: Expected `str`, got `int`, got 5"),
        ('{"latency": "fast"}', "latency: 'fast' is not fixed:TIME"),
        (f'{{{FIXED}, "failure_rate": 1.5}}', "failure_rate: Expected `float` <= 1.0, got 1.5"),
        (f'{{{FIXED}, "seed": -1}}', "seed: Expected `int` >= 0, got -1"),
        (f'{{{FIXED}, "delay": 1}}', "the body: Object contains unknown field `delay`"),
        (f'{{{FIXED}, "models": 3}}', "models: Expected `object`, got `int`, got 3"),
        (f'{{{FIXED}, "models": {{"m": 3}}}}', "models['m']: Expected `object`, got `int`"),
        (f'{{{FIXED}, "models": {{"m": {{"latency": "x"}}}}}}', "models['m'].latency: 'x' is not fixed:TIME"),
        (f'{{{FIXED}, "models": {{"m": {{"failure_rate": 2}}}}}}', "models['m'].failure_rate: Expected"),
        (f'{{{FIXED}, "models": {{"": {{}}}}}}', "model: '' is n"),
    ],
)
def test_a_wrong_configuration_is_refused(body: str, message: str) -> None:
    """The message names the field, the value and what is expected."""
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        decode_config(body.encode())


def test_one_models_behaviour_is_checked_alike() -> None:
    """Overrides of one model follow the same rules as those in a whole configuration."""
    assert decode_behaviour("m", b'{"failure_rate": 1}') == Behaviour(None, 1.0)
    with pytest.raises(ValueError, match=r"^latency: 'x' is not fixed:TIME"):
        decode_behaviour("m", b'{"latency": "x"}')
    with pytest.raises(msgspec.DecodeError):
        decode_behaviour("m", b"{")
