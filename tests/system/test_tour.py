"""The README's tour is true: its commands, typed in their order, are answered in the shape that it shows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.processes import System, system
from tests.tools import require_tools

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def steps() -> list[tuple[str, str]]:
    """Each command but `make load`, which has tests of its own, and what the README shows as its answer."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    found = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", "\n".join(blocks), re.MULTILINE)
    return [(command, shown) for command, shown in found if not command.startswith("make")]


def program(page: str) -> str:
    """The only one in Python."""
    found: str
    (found,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return found


def run(interpreter: str, text: str, tour: System, mock_url: str) -> str:
    """Its output, with the ports of this system."""
    for port, url in ((8000, tour.gateway_url), (8001, mock_url), (8002, tour.sidecar_url)):
        text = text.replace(f"localhost:{port}", url.removeprefix("http://"))
    done = subprocess.run([interpreter, "-c", text], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


def shape(value: Any) -> Any:
    """What it is made of: names and types, not figures."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(part)) for part in value})
    return "number" if type(value) in (int, float) else type(value).__name__


def shape_of_text(text: str) -> Any:
    """Of JSON; of other text its first line, figures aside, and how many there are: the next may be of a failure."""
    if text.startswith("{"):
        return shape(json.loads(text))
    first, *others = text.strip().splitlines()
    return re.sub(r"[\d.]+", "0", first), len(others)


def test_the_tour_is_answered_as_shown(tmp_path: Path) -> None:
    """From the first call to the export; between them calls of which some fail."""
    require_tools("curl")
    with system(tmp_path) as tour:
        mock_url = tour.start_mock().event("mock.listening")["url"]
        tour.start_sidecar()
        tour.start_gateway(INVOKER_OPENAI_URL=f"{mock_url}/v1")
        wrong = []
        for number, (command, shown) in enumerate(steps()):
            answer = run("sh", command, tour, mock_url)
            if shape_of_text(answer) != shape_of_text(shown):
                wrong.append((command, shown, answer))
            if number == 0:
                assert json.loads(answer)["worklet_output"] == json.loads(shown)["worklet_output"]
                tour.settled("gpt-3.5", 1)
            if "failure_rate" in command:
                statuses: list[int] = []
                while statuses.count(502) < 2 or 200 not in statuses:
                    statuses.append(tour.invoke("bert-base", "a text")[0])
                tour.settled("bert-base", len(statuses))
        assert wrong == []
        python = program(README)
        assert run(sys.executable, python, tour, mock_url) == python.rpartition("  # ")[2].strip()
        tour.settled("gpt-4o", 1)
        assert len(steps()) == 12


def test_the_pages_begin_with_what_works(tmp_path: Path) -> None:
    """A client of each dialect, as it is written there: its call is answered and recorded."""
    with system(tmp_path) as tour:
        mock_url = tour.start_mock().event("mock.listening")["url"]
        tour.start_sidecar()
        tour.start_gateway(INVOKER_OPENAI_URL=f"{mock_url}/v1", INVOKER_ANTHROPIC_URL=mock_url)
        for page, model_id, answer in (
            ("openai", "gpt", "answer.choices[0].message.content"),
            ("anthropic", "claude", "answer.content[0].text"),
        ):
            python = program((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
            assert run(sys.executable, f"{python}print({answer})", tour, mock_url) == "one two three\n"
            tour.settled(model_id, 1)
