"""MLServer, in the environment that `make peers` makes: a server of KServe's protocol that nobody here wrote, with a
runtime of a few lines."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.processes import ROOT, eventually

COMMAND = ROOT / ".mlserver" / "bin" / "mlserver"
IS_FOR_THIS_PYTHON = sys.version_info < (3, 13)
START_TIMEOUT_S = 90.0
RUNTIME = """
from mlserver import MLModel
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Sum(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if self.name == "broken":
            raise InferenceError("it is broken")
        outputs = [
            ResponseOutput(name=f"sum of {each.name}", shape=[1], datatype=each.datatype, data=[sum(each.data)])
            for each in payload.inputs
        ]
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs)
"""
MODELS = ("sum", "broken")
VERSION = "v7"


def models_file(url: str) -> str:
    """Of the gateway: where these models, and some that aren't there, go; and what one is called there."""
    return f"""
["sum"]
protocol = "kserve"
upstream = "{url}"

["broken"]
protocol = "kserve"
upstream = "{url}"

["mlserver/*"]
protocol = "kserve"
upstream = "{url}"
upstream_model = "*"
"""


@contextlib.contextmanager
def server(directory: Path, port: int, grpc_port: int) -> Iterator[None]:
    """It runs, until the end."""
    _lay_out(directory, port, grpc_port)
    environment = {**os.environ, "PYTHONPATH": str(directory), "HOME": str(directory)}
    with (
        (directory / "mlserver.log").open("w") as log,
        subprocess.Popen(
            [COMMAND, "start", directory], cwd=directory, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            eventually(lambda: _is_ready(port) or process.poll() is not None, bool, START_TIMEOUT_S)
            assert process.poll() is None, (directory / "mlserver.log").read_text()
            yield
        finally:
            process.kill()


def _lay_out(directory: Path, port: int, grpc_port: int) -> None:
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": grpc_port, "metrics_endpoint": None}
    (directory / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0}))
    (directory / "runtime.py").write_text(RUNTIME)
    for name in MODELS:
        (directory / name).mkdir()
        model = {"name": name, "implementation": "runtime.Sum", "parameters": {"version": VERSION}}
        (directory / name / "model-settings.json").write_text(json.dumps(model))


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=10):
            return True
    except (urllib.error.URLError, OSError):
        return False
