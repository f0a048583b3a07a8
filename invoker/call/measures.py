"""What a call took, for its record."""

from invoker.journal.begun import Answered
from invoker.protocols.base import Usage


def note_usage(answered: Answered, usage: Usage | None) -> None:
    if usage is not None:
        answered.input_tokens = usage.input_tokens
        answered.cached_input_tokens = usage.cached_input_tokens
        answered.output_tokens = usage.output_tokens
        answered.reasoning_tokens = usage.reasoning_tokens
