"""The models under chaos: what their calls are told apart by."""

import msgspec
import pytest

from tests.chaos.model_server import Asked
from tests.chaos.models import MODELS, ChaosModel


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_call_of_a_model_is_told_from_all_others(model: ChaosModel) -> None:
    """By its input's size, which the model server finds as the gateway records it, whatever was added on the way."""
    for number in (1, 2, 300):
        body = model.body(number)
        asked = msgspec.json.decode(body, type=Asked)
        assert asked.key == (model.name, model.input_size(number))
        assert msgspec.json.decode(body[:-1] + b',"stream_options":{}}', type=Asked).key == asked.key
    assert model.input_size(2) == model.input_size(1) + 1
