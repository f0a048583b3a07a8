"""The models that callers ask for under chaos: quick, failing, slow, limited, timing out, given up on; and streams."""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Literal

from deploy.mock.config import Behaviour
from deploy.mock.streams import StreamBehaviour

Protocol = Literal["worklet", "openai", "anthropic"]

PATHS: dict[Protocol, str] = {"worklet": "/invoke", "openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
WORDS = b"one two three four five six seven eight nine ten"
"""What chats are about: they are answered word by word."""
TOKENS = len(WORDS.split())
PRICES = "{ input = 2.5, output = 10 }"
COST_USD = Decimal("0.000125")
"""Of a whole one, by these."""
BODIES: dict[Protocol, bytes] = {
    "worklet": b'{"worklet_input":{"model_id":"%(model)b","input":"%(pad)b"}}',
    "openai": b'{"model":"%(model)b","messages":[{"role":"user","content":"%(words)b"}],%(asked)b"user":"%(pad)b"}',
    "anthropic": b'{"model":"%(model)b","max_tokens":99,"messages":[{"role":"user","content":"%(words)b"}],'
    b'%(asked)b"metadata":{"user_id":"%(pad)b"}}',
}
"""Of what tells the calls of one model apart, `pad` has as many characters as the call's number."""


@dataclass(frozen=True)
class ChaosModel:
    """How a model behaves, how the gateway limits it, and how long its callers wait. `streamed`: they ask for streams;
    `usage`: and for their usage; `priced`: by `PRICES`."""

    name: str
    weight: int
    latency: str = "fixed:1ms"
    failure_rate: float = 0.0
    timeout_s: float | None = None
    idle_s: float | None = None
    max_in_flight: int | None = None
    patience_s: float | None = None
    protocol: Protocol = "worklet"
    streamed: bool = False
    usage: bool = False
    priced: bool = False
    stream: StreamBehaviour = field(default_factory=StreamBehaviour)

    @property
    def behaviour(self) -> Behaviour:
        return Behaviour(self.latency, self.failure_rate, stream=self.stream)

    @property
    def path(self) -> str:
        return PATHS[self.protocol]

    def body(self, number: int) -> bytes:
        """The request of its call of that number."""
        usage = b'"stream_options":{"include_usage":true},' if self.usage else b""
        asked = b'"stream":true,' + usage if self.streamed else b""
        values = {b"model": self.name.encode(), b"words": WORDS, b"asked": asked, b"pad": b"x" * number}
        return BODIES[self.protocol] % values

    def input_size(self, number: int) -> int:
        """As it is recorded."""
        return number if self.protocol == "worklet" else len(self.body(number))


quickly = partial(StreamBehaviour, tokens_per_second=40.0)
slowly = partial(StreamBehaviour, tokens_per_second=8.0)
chat = partial(ChaosModel, protocol="openai", streamed=True)
claude = partial(ChaosModel, protocol="anthropic", streamed=True)

STREAMS = (
    chat("chat-0", 5, usage=True, stream=quickly()),
    chat("chat-1", 3, stream=quickly()),
    chat("chat-slow", 3, usage=True, priced=True, stream=slowly()),
    chat("chat-cut", 2, stream=quickly(cut_at_byte=1_500)),
    chat("chat-cut-behind", 2, usage=True, stream=quickly(cut_at_byte=2**20)),
    chat("chat-short", 1, stream=quickly(end_after_tokens=5)),
    chat("chat-erring", 2, stream=quickly(error_after_tokens=4)),
    chat("chat-stalled", 1, idle_s=0.5, stream=quickly(stall_after_tokens=3)),
    chat("chat-late", 1, timeout_s=0.8, stream=slowly()),
    chat("chat-given-up", 2, patience_s=0.2, stream=slowly()),
    claude("claude-0", 5, stream=quickly()),
    claude("claude-slow", 3, priced=True, stream=slowly()),
    claude("claude-cut", 2, stream=quickly(cut_at_byte=1_000)),
    claude("claude-cut-behind", 1, stream=quickly(cut_at_byte=2**20)),
    claude("claude-erring", 1, stream=quickly(error_after_tokens=4)),
    claude("claude-failing", 2, failure_rate=0.4),
    ChaosModel("chat-whole", 4, "uniform:1ms,100ms", failure_rate=0.2, protocol="openai", priced=True),
    ChaosModel("claude-whole", 2, "uniform:1ms,100ms", protocol="anthropic"),
)
"""Behind: after all of the answer was sent, without the end of its body. The whole ones are not streamed."""

MODELS = (
    *(ChaosModel(f"quick-{number}", 10) for number in range(4)),
    ChaosModel("failing-0", 10, "uniform:1ms,30ms", failure_rate=0.4),
    ChaosModel("failing-1", 10, "uniform:1ms,200ms", failure_rate=0.2),
    ChaosModel("slow-0", 10, "lognormal:150ms,0.6"),
    ChaosModel("slow-1", 10, "lognormal:300ms,0.6"),
    ChaosModel("limited", 10, "fixed:100ms", max_in_flight=1),
    ChaosModel("late", 5, "uniform:1000ms,1400ms", timeout_s=1.2),
    ChaosModel("given-up", 5, "uniform:20ms,300ms", patience_s=0.1),
    *STREAMS,
)
WIDE = ChaosModel("wide-" + "🦆" * 240, 1, failure_rate=1.0)
"""A call of it takes 4 KiB of journal: it fills what is left of a full disk within seconds."""

CALM = ChaosModel("calm", 15, "uniform:1ms,10ms")
SPREAD = (
    ChaosModel("spread-0", 20, "uniform:1ms,10ms"),
    ChaosModel("spread-1", 20, "uniform:1ms,50ms"),
    ChaosModel("tiered", 15, "uniform:1ms,10ms"),
    ChaosModel("pair", 15, "uniform:1ms,10ms"),
    chat("spread-chat", 10, usage=True, stream=quickly()),
)
"""Of several endpoints, which go wrong; those of the calm one don't."""

BY_NAME = {model.name: model for model in (*MODELS, WIDE, CALM, *SPREAD)}


def even_models(count: int) -> tuple[ChaosModel, ...]:
    """Equal models that answer after 5 ms: many of them, so that the sizes that tell calls apart stay small."""
    return tuple(ChaosModel(f"even-{number:03d}", 1, "fixed:5ms") for number in range(count))


def models_file(base: str) -> str:
    """The gateway's models file: those with a price, a timeout or a limit of their own."""
    upstreams = {"worklet": f"{base}/invoke", "openai": f"{base}/v1", "anthropic": base}
    tables = []
    for model in MODELS:
        if model.timeout_s or model.idle_s or model.max_in_flight or model.priced:
            lines = [f"[{json.dumps(model.name)}]", f"upstream = {json.dumps(upstreams[model.protocol])}"]
            lines += [f'protocol = "{model.protocol}"'] if model.protocol != "worklet" else []
            lines += [f"timeout = {model.timeout_s}"] if model.timeout_s else []
            lines += [f"prices = {PRICES}"] if model.priced else []
            lines += [f"idle = {model.idle_s}"] if model.idle_s else []
            lines += [f"limits = {{ max_in_flight = {model.max_in_flight} }}"] if model.max_in_flight else []
            tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"
