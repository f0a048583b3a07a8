"""What comes in: records of a few days, many at the same moments and some late; and what is asked about them."""

from random import Random
from typing import Any

from metrics_sidecar.history.aggregate import MEASURES, SINCE_THE_BEGINNING, SPREADS, Ask
from metrics_sidecar.history.queries import HistoryFilter, HistoryQuery, Order, Term
from metrics_sidecar.history.windows import DAY, HOUR, MINUTE_US, Window
from shared.record import MAX_TIMESTAMP_US, OVERFLOW_MODEL_ID, ErrorType, Record
from tests.metrics_sidecar.history.contract.model import Question

START = 20_000 * DAY
"""In minutes: the begin of a day."""
DAYS = 3
END = START + DAYS * DAY
END_US = END * MINUTE_US

MODELS = ("a", "b", "ab", "a%b", "a_b", "A", "a'\"\\", "\ud7ff", "\U0010ffff", "\U0010ffffa")
PREFIXES = ("a", "ab", "a%", "a_", "A", "a'", "\ud7ff", "\U0010ffff", "x", "%")
LOGS = ("", "No answer", "no answer 100%", "a_b", 'it\'s\\n "quoted"', "line\nline\0é日本😀")
PARTS = ("answer", "No", "NO", "100%", "%", "_", "'", "\\n", "\n", "\0", "é日", "😀", "a.b")
PROTOCOLS = ("worklet", "openai", "of_a_later_release")
STATUS_CODES = (None, 200, 429)
TERMS = ("least", "most", "contains", "protocol", "streamed", "status_code", "tag", "other tag")
TAGS = ("team=search", "team=1", "a=1", "b=é'\"", "b=é")
MOMENTS_US = tuple(
    minute * MINUTE_US + within
    for minute in (START, START + 1, START + 9, START + HOUR, START + DAY - 1, START + DAY, START + 30 * HOUR)
    for within in (0, 1, MINUTE_US - 1)
)
"""The first and last of minutes, hours and days."""
FULLY: dict[str, Any] = {"measures": MEASURES, "percents": (50, 90, 95, 99), "spreads": SPREADS, "errors": True}
"""All that can be asked of a window."""
STEPS = (1, 5, 7, 10, 60, 90, 6 * HOUR, DAY, 2 * DAY)


class Arrivals:
    """The same seed, the same records and questions."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._telling = Random(seed)  # of its own, so that all else stays as it was without
        self._mark = 0
        self._minute = float(START)

    @property
    def now_us(self) -> int:
        """When the newest are from; a third of what there is room for in a batch comes from the past."""
        return int(self._minute * MINUTE_US)

    def records(self, count: int, minutes: float = 0) -> list[Record]:
        """The next ones, which take so long."""
        records = []
        for _ in range(count):
            self._minute = min(self._minute + minutes / count, END - 1)
            records.append(self.record(self._moment_us()))
        return records

    def outages(self, minutes: int) -> list[Record]:
        """One record a minute of some models, which fail, or succeed, for some time each."""
        records, failures = [], 0.3
        for _ in range(minutes):
            self._minute += 1
            if self.random.random() < 0.1:
                failures = self.random.choice([0, 0.9, 1, 1])
            records.append(self.record(self.now_us, failures=failures))
        return records

    def record(self, timestamp_us: int, *, latency_us: int | None = None, failures: float = 0.3) -> Record:
        random = self.random
        error_type = random.choice([*ErrorType]) if random.random() < failures else None
        self._mark += 1
        if latency_us is None:
            latency_us = random.randrange(4) if random.random() < 0.3 else int(random.lognormvariate(10, 2))
        return Record(
            random.choice(MODELS),
            timestamp_us,
            latency_us,
            error_type,
            random.choice(LOGS) if error_type else "",
            self._mark - 1,
            random.randrange(9),
            f"{random.getrandbits(128):032x}" if random.random() < 0.3 else None,
            **self._told(),
        )

    def _told(self) -> dict[str, Any]:
        """What gateways tell since a later release, of most."""
        told = self._telling
        if told.random() < 0.3:
            return {}
        tokens = told.choice([None, 0, 1, 1000])
        return {
            "request_id": f"r-{self._mark}",
            "protocol": told.choice(PROTOCOLS),
            "operation": told.choice(["invoke", "chat"]),
            "streamed": told.random() < 0.3,
            "upstream": told.choice([None, "127.0.0.1:8001", "b"]),
            "status_code": told.choice(STATUS_CODES),
            "attempts": told.choice([0, 1, 3]),
            "fallback_from": told.choice([None, "b", "é日"]),
            "time_to_first_token_us": told.choice([None, 0, 1500]),
            "time_per_output_token_us": told.choice([None, 1, 12_345]),
            "queue_us": told.choice([None, 0, 2_500_000]),
            "input_tokens": told.choice([tokens, None]),
            "cached_input_tokens": told.choice([None, 0]),
            "output_tokens": tokens,
            "reasoning_tokens": told.choice([None, 7]),
            "cost_nano_usd": told.choice([None, 0, 1, 10**12]),
            "tags": told.choice([None, {"team": "search"}, {"b": "é'\"", "a": "1"}]),
        }

    def _moment_us(self) -> int:
        late = self.random.random()
        if late < 0.3:
            return self.random.choice([moment for moment in MOMENTS_US if moment <= self.now_us])
        if late < 0.4:
            return int(self.random.uniform(START * MINUTE_US, self.now_us))
        return self.now_us

    # Questions.

    def filter(self) -> HistoryFilter:
        """Of few conditions mostly, because all at once match little."""
        random = self.random
        conditions: dict[str, Any] = {
            "models": tuple(random.sample((*MODELS, "unknown"), random.randrange(1, 6))),
            "prefixes": tuple(random.sample(PREFIXES, random.randrange(1, 3))),
            "status": random.choice(["success", "failure"]),
            "error_types": tuple(random.sample([*ErrorType], random.randrange(1, 4))),
            "since_us": self.moment_us(),
            "until_us": random.choice([self.moment_us(), MAX_TIMESTAMP_US]),
            "least": Term("latency_us", "least", random.choice([0, 1, 3, 20_000])),
            "most": Term("latency_us", "most", random.choice([0, 2, 3, 200_000])),
            "contains": Term("error_log", "contains", random.choice(PARTS)),
            "protocol": Term("protocol", "equal", random.choice(PROTOCOLS)),
            "streamed": Term("streamed", "equal", random.choice([0, 1])),
            "status_code": Term("status_code", "equal", random.choice([200, 429])),
            "tag": Term("tags", "has", random.choice(TAGS)),
            "other tag": Term("tags", "has", random.choice(TAGS)),
        }
        count = len(conditions) if random.random() < 0.1 else random.randrange(4)
        chosen = {name: conditions[name] for name in random.sample([*conditions], count)}
        terms = tuple(chosen.pop(name) for name in TERMS if name in chosen)
        return HistoryFilter(**chosen, terms=terms)

    def order(self) -> Order:
        return "asc" if self.random.random() < 0.5 else "desc"

    def page(self, deepest: int = 500) -> HistoryQuery:
        random = self.random
        offset = random.randrange(deepest) if random.random() < 0.7 else 0
        limit = random.choice([1, 2, 5, 100, 1000])
        return HistoryQuery(filter=self.filter(), limit=limit, offset=offset, order=self.order())

    def moment_us(self) -> int:
        random = self.random
        if random.random() < 0.5:
            return random.choice(MOMENTS_US) + random.choice([0, 0, 1])
        return int(random.uniform((START - DAY) * MINUTE_US, END_US + DAY * MINUTE_US))

    def window(self) -> Ask:
        since_us, until_us = sorted((self.moment_us(), self.moment_us()))
        if self.random.random() < 0.2:
            until_us = since_us + self.random.randrange(2 * MINUTE_US)
        if self.random.random() < 0.1:
            since_us, until_us = 0, END_US
        return self._ask(window=Window(since_us, until_us), by=self._by(), **FULLY)

    def series(self) -> Ask:
        random = self.random
        step = random.choice(STEPS)
        first, last = sorted(self.moment_us() // MINUTE_US // step for _ in range(2))
        window = Window(first * step * MINUTE_US, min(last + 1, first + 500) * step * MINUTE_US)
        percents = random.choice([(), (50,), (95,), (99, 50)])
        measures = tuple(random.sample(MEASURES, random.randrange(1, 5)))
        errors = random.random() < 0.3
        spreads = tuple(self._telling.sample(SPREADS, self._telling.randrange(1, 3)))
        return self._ask(
            window=window,
            step_minutes=step,
            by=self._by(),
            percents=percents,
            spreads=spreads,
            measures=measures,
            errors=errors,
        )

    def sums(self) -> Ask:
        return self._ask(by=self._by(), measures=SINCE_THE_BEGINNING, errors=self.random.random() < 0.5)

    def _ask(self, **what: Any) -> Ask:
        models, prefixes = self._models()
        return Ask(models=models, prefixes=prefixes, **what)

    def _by(self) -> str | None:
        return "model_id" if self.random.random() < 0.6 else None

    def _models(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Some, and prefixes of some; or none of either."""
        random = self.random
        names = (*MODELS, OVERFLOW_MODEL_ID, OVERFLOW_MODEL_ID, "unknown")
        models = tuple(dict.fromkeys(random.sample(names, random.choice([0, 1, 2, 5]))))
        return models, tuple(random.sample(PREFIXES, random.choice([0, 0, 1, 2])))

    def question(self) -> Question:
        questions: list[Question] = [self.page(), self.sums(), self.window(), self.series()]
        return self.random.choice(questions)
