"""`invoker check-config`, as it is called."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent.parent / "docs/models-file.md"
GOOD = """\
["*".defaults]
timeout = 9
[a]
upstream = "http://a/"
["b*"]
upstreams = [{ url = "http://b/" }, { url = "http://c/" }]
"""
WRONG = '[a]\nupstream = "host"\ntimeout = 0\n[b]\nupstream = "http://b/"\nidle = 2\n'


def checked(*arguments: str | Path, directory: Path, models_file: str | None = None) -> tuple[int, str, str]:
    """The exit code, and what was printed."""
    return run("check-config", *arguments, directory=directory, models_file=models_file)


def run(*arguments: str | Path, directory: Path, models_file: str | None) -> tuple[int, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INVOKER_")}
    if models_file is not None:
        environment["INVOKER_MODELS_FILE"] = models_file
    command = [sys.executable, "-m", "invoker", *map(str, arguments)]
    done = subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig"])
def test_a_file_that_is_fine(tmp_path: Path, line_end: str, coding: str) -> None:
    """Says what is in it, however an editor has written it."""
    path = tmp_path / "models.toml"
    path.write_bytes(GOOD.replace("\n", line_end).encode(coding))
    assert checked(path, directory=tmp_path) == (0, f"{path}: 1 model, 1 pattern, 3 endpoints: fine\n", "")


def test_a_line_for_each_finding(tmp_path: Path) -> None:
    """In the order of the file, and one for all of them."""
    (tmp_path / "models.toml").write_text(WRONG)
    said = (
        "models.toml:2: error: [a] upstream: 'host' is not an absolute http:// or https:// URL or "
        "http+unix://%2Fpath%2Fof.sock/path\n"
        "models.toml:3: error: [a] timeout: 0 is not a number above 0 and at most 86400\n"
        "models.toml:6: warning: [b] idle: has no effect: calls of worklet have no streams\n"
        "models.toml: 2 errors, 1 warning\n"
    )
    assert checked("models.toml", directory=tmp_path) == (2, said, "")


def test_warnings_are_no_errors(tmp_path: Path) -> None:
    """The file can be used."""
    (tmp_path / "models.toml").write_text(WRONG.partition("\n[b]")[2].join(["[b]", ""]))
    code, said, _ = checked("models.toml", directory=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "models.toml: 1 model, 0 patterns, 1 endpoint: 1 warning")


def test_which_file(tmp_path: Path) -> None:
    """The one that is given, or else the setting's; without any, that is said."""
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "wrong.toml").write_text(WRONG)
    assert checked(directory=tmp_path, models_file="good.toml")[0] == 0
    assert checked("--models-file", "good.toml", directory=tmp_path, models_file="wrong.toml")[0] == 0
    assert checked("wrong.toml", directory=tmp_path, models_file="good.toml")[0] == 2
    said = "invoker: error: FILE: none is given, and INVOKER_MODELS_FILE is not set\n"
    assert checked(directory=tmp_path) == (2, "", said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "models.toml: error: No such file or directory"),
        (WRONG.encode("utf-16"), "models.toml:1: error: byte 0xff is no UTF-8, but like UTF-16; TOML is"),
        (b"[a]\nx = '\xe9'", "models.toml:2: error: byte 0xe9 is no UTF-8; TOML is"),
        (b"\n[a\n", "models.toml:2: error: Expected ']' at the end of a table declaration (column 3)"),
        (b"\0", "models.toml:1: error: Invalid statement (column 1)"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Has one error, which says why."""
    if content is not None:
        (tmp_path / "models.toml").write_bytes(content)
    assert checked("models.toml", directory=tmp_path) == (2, f"{said}\nmodels.toml: 1 error\n", "")


def test_a_directory_is_none(tmp_path: Path) -> None:
    assert checked(".", directory=tmp_path)[:2] == (2, ".: error: Is a directory\n.: 1 error\n")


def test_a_large_one(tmp_path: Path) -> None:
    """All of ten thousand errors are told, and their lines are right; the reader may have enough of them before."""
    text = "".join(f'["m-{number}"]\nupstream = "http://a/"\nretries = 11\n' for number in range(10_000))
    (tmp_path / "models.toml").write_text(text)
    code, said, _ = checked("models.toml", directory=tmp_path)
    lines = said.splitlines()
    assert (code, len(lines), lines[-1]) == (2, 10_001, "models.toml: 10,000 errors")
    assert lines[-2].startswith("models.toml:30000: error: [m-9999] retries: 11 is not")
    shell = f"{sys.executable} -m invoker check-config models.toml | head -n 1"
    done = subprocess.run(shell, cwd=tmp_path, shell=True, check=True, capture_output=True)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_what_a_gateway_tells_at_its_start(tmp_path: Path) -> None:
    """The same errors, each in a line of its own, but not more than a few; and no process is left."""
    (tmp_path / "models.toml").write_text("".join(f"[m-{number}]\ntimeout = 0\n" for number in range(4)))
    (_, said, _), started = (
        checked("models.toml", directory=tmp_path),
        run(directory=tmp_path, models_file="models.toml"),
    )
    told = [f"invoker: error: INVOKER_MODELS_FILE: {line}" for line in said.replace("error: ", "").splitlines()[:5]]
    told.append(
        "invoker: error: INVOKER_MODELS_FILE: models.toml: … and 3 more; invoker check-config tells all of them"
    )
    assert (started[0], started[2].splitlines()) == (2, told)


def test_what_its_page_shows(tmp_path: Path) -> None:
    """Is what it prints."""
    (tmp_path / "models.toml").write_text(
        """\
["gpt-4o"]
protocol = "openai"
upstream = "https://api.openai.com/v1"
timeout = 0

[bert]
upstream = "http://bert:9000/invoke"
timeout = 5
idle = 1
[["team/*".upstreams]]
url = "http://team:9000/invoke"
[["team/*".upstreams]]
"""
    )
    shown = re.search(r"\$ invoker check-config models.toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    assert checked("models.toml", directory=tmp_path) == (2, shown[1], "")
