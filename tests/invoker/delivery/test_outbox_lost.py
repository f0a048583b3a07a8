"""The outbox and a connection that is lost just now."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from invoker.delivery.outbox import write


async def write_after_loss(path: Path) -> None:
    async def abort(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_unix_server(abort, path):
        reader, writer = await asyncio.open_unix_connection(path)
        while not writer.is_closing():
            write(writer, b"x" * 100_000)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # the transport has let go of its socket
        try:
            write(writer, b"x")
        finally:
            reader.feed_eof()
            writer.close()


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_write_on_a_lost_connection_is_an_error_that_leads_to_a_new_one(
    tmp_path: Path, loop_factory: type[asyncio.AbstractEventLoop]
) -> None:
    """Whatever the event loop makes of it: any other error would end the outbox, and nothing would be shipped."""
    with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(ConnectionResetError):
        runner.run(write_after_loss(tmp_path / "s"))
