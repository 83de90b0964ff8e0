"""An MCP server of the Python SDK, on standard input and output, or behind HTTP at the port that is given. It writes down what happens to it."""
import os
import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("interop")


def note(what):
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(what + "\n")


@server.tool()
async def add(a: int, b: int, ctx: Context) -> str:
    """Add two numbers"""
    await ctx.report_progress(1, 2)
    return str(a + b)


@server.tool()
async def wait() -> str:
    """Comes back when nobody waits any more"""
    note("begun")
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        note("cancelled")
        raise


if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
