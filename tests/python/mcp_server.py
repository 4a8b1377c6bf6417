"""An MCP server over HTTP with a tool that never ends by itself. Prints its port, and what becomes of each call."""

import socket

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer

mcp = MCPServer("a test", log_level="ERROR")


@mcp.tool()
async def wait(name: str, ctx: Context) -> str:
    print(f"began {name}", flush=True)
    try:
        await ctx.report_progress(1, 2, name)
        await anyio.sleep_forever()
    finally:
        print(f"ended {name}", flush=True)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(mcp.streamable_http_app(), log_level="error")).run(sockets=[listener])
