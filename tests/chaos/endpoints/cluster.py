"""A cluster whose models have several endpoints, each a process of its own."""

import json
import random
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.chaos.cluster import Cluster, free_ports
from tests.chaos.endpoints.server import Manners
from tests.processes import Process

SHAKY = ("a", "b", "c")
STEADY = ("x", "y")
WHERE: Mapping[str, tuple[str, ...]] = {
    "calm": STEADY,
    "spread-0": SHAKY,
    "spread-1": SHAKY,
    "spread-chat": SHAKY,
    "tiered": SHAKY,
    "pair": ("a", "b"),
}
"""Model → the names of its endpoints."""
TIMEOUTS_S = (3.0, 4.0, 5.0)
STEADY_TIMEOUT_S = 15.0
LIMITED = ("pair", "spread-1")
LIMITS = "limits = { max_in_flight = 60, queue = 60, queue_timeout = 2.0 }"
"""More than these models have while their endpoints answer, and less than while they hang."""
WRONG_FILES = ("[m", "[m]\nupstream = 'nowhere'", "[m]\nupstream = 'http://h/'\nretries = 99", "x = " + "[" * 5000)


class EndpointCluster(Cluster):
    """Several model servers, sidecar and gateway. `servers`: by the name of their endpoint."""

    def __init__(self, directory: Path, workers: int) -> None:
        super().__init__(directory, workers)
        names = (*SHAKY, *STEADY)
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.seen_files = {name: directory / f"seen-{name}.jsonl" for name in names}
        self.servers: dict[str, Process] = {}
        self.models_path = directory / "models.toml"

    def start_models(self) -> None:
        for name in self._ports:
            self.start_server(name)

    def start_server(self, name: str) -> None:
        arguments = (str(self._ports[name]), str(self.seen_files[name]))
        process = Process("tests.chaos.endpoints.server", {}, *arguments)
        self.processes.append(process)
        self.servers[name] = process
        process.event("mock.listening")

    def tell(self, name: str, manners: Manners) -> None:
        """From the answer on, that server has these."""
        url = f"http://127.0.0.1:{self._ports[name]}/manners"
        request = urllib.request.Request(url, msgspec.json.encode(manners), method="PUT")
        urllib.request.urlopen(request, timeout=20).close()

    def models_text(self, die: random.Random | None = None) -> str:
        """Of all models; with a die, other weights, timeouts and attempts, and of three endpoints perhaps one less."""
        return "".join(self._tables(model_id, names, die) for model_id, names in WHERE.items())

    def write_models(self, text: str) -> None:
        """At once, as editors and config maps do."""
        new = self.models_path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.models_path)

    def _tables(self, model_id: str, names: tuple[str, ...], die: random.Random | None) -> str:
        chosen = [*names]
        if die is not None:
            die.shuffle(chosen)
            if len(chosen) > 2 and die.random() < 0.3:
                chosen.pop()
        dialect = model_id == "spread-chat"
        timeouts_s = (STEADY_TIMEOUT_S,) if names == STEADY else TIMEOUTS_S
        lines = [f"[{model_id}]", f"timeout = {die.choice(timeouts_s) if die else timeouts_s[0]}"]
        lines += ['protocol = "openai"'] if dialect else []
        lines += [LIMITS] if model_id in LIMITED else []
        if die is not None and die.random() < 0.5:
            lines.append(f"retries = {die.randint(1, 3)}")
        for name in chosen:
            url = f"http://127.0.0.1:{self._ports[name]}/{'v1' if dialect else 'invoke'}"
            lines += [f"[[{model_id}.upstreams]]", f"name = {json.dumps(name)}", f"url = {json.dumps(url)}"]
            lines += [f"weight = {die.randint(1, 5)}"] if die else []
            lines += ["priority = 1"] if model_id == "tiered" and name == "c" else []
        return "\n".join(lines) + "\n"
