"""CPU per chat completion that is not streamed, beside an invocation by the same gateway."""

from tests.bench.figures import Budget, Outcome, figure
from tests.bench.ground import Ground, interleaved, middle
from tests.bench.load import Load, run_of, sample, warm_up
from tests.bench.yardsticks import nginx

CHAT_BODY = (
    b'{"model":"bench","messages":[{"role":"user","content":"one two three"}],"max_tokens":64,"temperature":0.7}'
)
INVOKE, CHAT = "/invoke", "/v1/chat/completions"


def measure(on: Ground) -> Outcome:
    upstream = on.nginx("upstream", nginx.CHAT_UPSTREAM, measured=False).url
    gateway = on.gateway(upstream, INVOKER_OPENAI_URL=f"{upstream}/v1")
    expected = ('"content":"one two three"', '"total_tokens":6')
    checked = sample(gateway, Load(1.0, body=CHAT_BODY, path=CHAT, expected=expected), on.directory).answers
    warm_up(on, [gateway])
    seconds = on.effort.seconds(3.0)
    loads = {INVOKE: Load(seconds), CHAT: Load(seconds, body=CHAT_BODY, path=CHAT)}
    runs = interleaved(on.effort.rounds, {path: run_of(gateway, load, on.directory) for path, load in loads.items()})
    costs = {path: middle(samples, lambda run: run.cpu_us) for path, samples in runs.items()}
    rates = {f"{path}, req/s": middle(samples, lambda run: run.answers.rate) for path, samples in runs.items()}
    return Outcome(
        [
            figure(
                f"{CHAT}, CPU per request",
                "µs",
                costs[CHAT],
                yardstick=(INVOKE, costs[INVOKE]),
                budget=Budget("ratio", at_most=1.25),
                note=f"{checked.requests:,} replies read and compared, none wrong",
                extra=rates,
            )
        ]
    )
