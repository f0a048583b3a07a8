"""A model server that adds 5: the upstream of examples, tests and benchmarks.

`POST /invoke` answers after a drawn latency, or fails at a drawn rate; so do the routes of OpenAI's and Anthropic's
protocols, which say again what was said to them, and those of KServe's. `/config` shows and changes how, while the
server runs: `GET` and `PUT /config`, `PUT` and `DELETE /config/{model_id}`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import click
import msgspec
import uvloop
from aiohttp import web

from deploy.mock.config import (
    MAX_MODELS,
    Behaviour,
    Config,
    Fate,
    check_latency,
    decode_behaviour,
    decode_config,
    fate,
    parse_override,
)
from deploy.mock.dialects import Dialects, failed, failure_of, json_response
from deploy.mock.kserve_routes import KServeRoutes
from shared import logs
from shared.addresses import bind, listen, urls_of
from shared.serving import running, serving, stop_signal
from shared.settings import PORT, Number, StartupError, log_format, log_level, options, run_command, setting

MAX_BODY_BYTES = 64 * 1024 * 1024
SHUTDOWN_S = 10.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logs.get("mock")


@dataclass(frozen=True)
class MockSettings:
    """The mock server's settings; `models` comes from the flag `--model`, which may be repeated."""

    host: str = setting(
        "MOCK_HOST", "127.0.0.1", click.STRING, "Addresses to listen on, with commas between them; * is all."
    )
    port: int = setting("MOCK_PORT", 8001, PORT, "Port to listen on; 0 takes a free one.")
    latency: str = setting(
        "MOCK_LATENCY",
        "lognormal:20ms,0.5",
        click.STRING,
        "fixed:TIME, uniform:FROM,TO or lognormal:MEDIAN,SIGMA.",
    )
    failure_rate: float = setting("MOCK_FAILURE_RATE", 0.0, Number(0.0, 1.0), "Share of invocations answered with 500.")
    seed: int | None = setting("MOCK_SEED", None, Number(0, 2**53), "Makes what is drawn repeatable.")
    log_format: Any = log_format()
    log_level: Any = log_level()


MODEL_OPTION = click.Option(
    ["--model", "models"],
    multiple=True,
    envvar="MOCK_MODELS",
    show_envvar=True,
    help="MODEL=LATENCY;failure=RATE for one model; repeatable (in the environment: separated by spaces).",
)


class Invocation(msgspec.Struct, frozen=True):
    """What a caller wants worked on."""

    model_id: str
    input: Any


class InvokeBody(msgspec.Struct, frozen=True):
    """The body of `POST /invoke`."""

    worklet_input: Invocation


_decode_invoke: msgspec.json.Decoder[InvokeBody] = msgspec.json.Decoder(InvokeBody)


def add_five(value: Any) -> Any:
    """5 more for each number, in lists at any depth; anything else, booleans too, stays as it is."""
    if isinstance(value, list):
        return [add_five(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value + 5
    return value


class MockServer:
    """The handlers and the configuration that they follow."""

    def __init__(self, config: Config) -> None:
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Follow `config` from the next invocation on; a seed starts its sequence anew."""
        self._config = config
        self._random = Random(config.seed)
        self._set_fates()

    def _set_fates(self) -> None:
        config = self._config
        self._default = fate(config, Behaviour())
        self._fates: dict[str, Fate] = {
            model_id: fate(config, behaviour) for model_id, behaviour in config.models.items()
        }

    async def meet(self, model_id: str) -> tuple[Fate, bool]:
        """Wait as long as this invocation is to take; the model's fate, and whether this one fails."""
        model_fate = self._fates.get(model_id, self._default)
        # Both are drawn before the wait, so that a seed's sequence follows the order of arrival.
        fails = self._random.random() < model_fate.failure_rate
        latency_s = model_fate.latency.draw(self._random)
        if latency_s > 0:
            await asyncio.sleep(latency_s)
        return model_fate, fails

    @property
    def models(self) -> list[str]:
        """Those that are configured."""
        return sorted(self._config.models)

    async def invoke(self, request: web.Request) -> web.Response:
        invocation = _decode_invoke.decode(await request.read()).worklet_input
        model_fate, fails = await self.meet(invocation.model_id)
        if fails:
            return failed(model_fate, {"error": failure_of(invocation.model_id)})
        return json_response({"worklet_output": add_five(invocation.input)})

    async def get_config(self, _request: web.Request) -> web.Response:
        return json_response(self._config)

    async def put_config(self, request: web.Request) -> web.Response:
        self.apply(decode_config(await request.read()))
        log.info("mock.config_changed", models=len(self._config.models), latency=self._config.latency)
        return json_response(self._config)

    async def put_model(self, request: web.Request) -> web.Response:
        model_id = request.match_info["model_id"]
        behaviour = decode_behaviour(model_id, await request.read())
        if model_id not in self._config.models and len(self._config.models) >= MAX_MODELS:
            raise ValueError(f"models: {MAX_MODELS} are configured already, which is what is allowed")
        return self._replace_models({**self._config.models, model_id: behaviour})

    async def delete_model(self, request: web.Request) -> web.Response:
        model_id = request.match_info["model_id"]
        return self._replace_models({k: v for k, v in self._config.models.items() if k != model_id})

    def _replace_models(self, models: dict[str, Behaviour]) -> web.Response:
        self._config = msgspec.structs.replace(self._config, models=models)
        self._set_fates()
        return json_response(self._config)


async def healthz(_request: web.Request) -> web.Response:
    return json_response({"status": "ok"})


def make_app(config: Config) -> web.Application:
    """The application; every answer is JSON."""
    server = MockServer(config)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/invoke", json_errors(server.invoke)),
            web.get("/config", server.get_config),
            web.put("/config", json_errors(server.put_config)),
            web.put("/config/{model_id:.+}", json_errors(server.put_model)),
            web.delete("/config/{model_id:.+}", server.delete_model),
            web.get("/healthz", healthz),
            *Dialects(server.meet, lambda: server.models).routes(),
            *KServeRoutes(server.meet).routes(),
        ]
    )
    return app


def json_errors(handler: Handler) -> Handler:
    """Answer what is wrong with a body: 400 if it is no JSON, 413 if too long, 422 if it is another JSON."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return json_response({"error": f"the body is over {MAX_BODY_BYTES} bytes"}, 413)
        except msgspec.ValidationError as error:
            return json_response({"error": str(error)}, 422)
        except msgspec.DecodeError as error:
            return json_response({"error": f"the body is not JSON: {error}"}, 400)
        except RecursionError:
            return json_response({"error": "the body is nested too deeply"}, 422)
        except ValueError as error:
            return json_response({"error": str(error)}, 422)

    return handle


async def serve(settings: MockSettings, config: Config) -> None:
    """Listen until a stop signal; then finish what is in flight within `SHUTDOWN_S`."""
    stop = stop_signal()
    bound = bind(settings.host, settings.port, "MOCK_PORT")
    listen(bound, "MOCK_PORT")
    async with running(make_app(config), SHUTDOWN_S) as runner, serving(runner, bound):
        url = urls_of(bound)
        log.info("mock.listening", url=url, latency=config.latency, failure_rate=config.failure_rate)
        await stop.wait()
        log.info("mock.stopping")
    log.info("mock.stopped")


def run(settings: MockSettings, overrides: tuple[str, ...]) -> None:
    """Check the configuration and serve it until told to stop."""
    try:
        check_latency("MOCK_LATENCY (--latency)", settings.latency)
        models = dict(map(parse_override, overrides))
    except ValueError as error:
        raise StartupError(str(error)) from None
    logs.configure(settings.log_format, settings.log_level)
    logs.start_writer()
    config = Config(settings.latency, settings.failure_rate, settings.seed, models)
    uvloop.run(serve(settings, config))


def _callback(models: tuple[str, ...], **values: Any) -> None:
    run(MockSettings(**values), models)


cli = click.Command(
    "mock-server",
    help="Serve a model that adds 5 to every number.",
    params=[*options(MockSettings), MODEL_OPTION],
    callback=_callback,
)


def main() -> None:
    run_command(cli)


if __name__ == "__main__":
    main()
