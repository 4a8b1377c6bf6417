"""An MCP client that calls a tool that never ends. Takes the server's URL and the name of the call; prints the protocol's
version, then `heard` when the call has begun, and cancels it when it is told to."""

import sys

import anyio
from mcp.client import Client


async def main():
    url, name = sys.argv[1:]
    async with Client(url) as client:
        print(client.protocol_version, flush=True)

        async def heard(_progress, _total, message):
            print(f"heard {message}", flush=True)

        async with anyio.create_task_group() as calls:
            calls.start_soon(lambda: client.call_tool("wait", {"name": name}, progress_callback=heard))
            await anyio.to_thread.run_sync(sys.stdin.readline)
            calls.cancel_scope.cancel()
        print("cancelled", flush=True)


anyio.run(main)
