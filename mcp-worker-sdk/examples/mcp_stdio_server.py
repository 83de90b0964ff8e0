#!/usr/bin/env python3
"""A small MCP server over stdio, of the era of `initialize`, to run behind the example mcp_child_process."""
import json
import sys

TOOL = {"name": "shout", "description": "Say it louder", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}}


def answer(method, params):
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "shouter", "version": "1"}}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        token = params.get("_meta", {}).get("progressToken")
        if token is not None:
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        return {"content": [{"type": "text", "text": params["arguments"]["text"].upper()}]}
    if method == "x/echo":
        return params
    return None


def say(message):
    print(json.dumps(message), flush=True)


for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = answer(asked["method"], asked.get("params") or {})
    if result is None:
        say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no such method"}})
    else:
        say({"jsonrpc": "2.0", "id": asked["id"], "result": result})
