"""MCP of other hands on both sides: a client of the Python SDK over MQTT to one node, and a server of the Python SDK behind a worker of ours."""
import asyncio
import os
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import anyio
import mcp_types as types
import paho.mqtt.properties as properties
from mcp import Client
from mcp.shared.message import SessionMessage
from paho.mqtt.packettypes import PacketTypes

from case import case, expect, finish
from place import LIMIT_S, free_port, listens, node, redis_server, start, stop_all, until

HERE = Path(__file__).resolve().parent
ERAS = ("legacy", "2026-07-28", "auto")
number = iter(range(1_000_000))


@asynccontextmanager
async def over_mqtt(port, topic):
    """Each message that is written is a request, each that comes an answer or a part of one."""
    to_client, answers = anyio.create_memory_object_stream(100)
    requests, from_client = anyio.create_memory_object_stream(100)
    replies = f"replies/{next(number)}"
    about = properties.Properties(PacketTypes.PUBLISH)
    about.ResponseTopic, about.CorrelationData = replies, b"d"

    async def ask(mqtt):
        async for message in from_client:
            json = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            await mqtt.publish(topic, json, qos=1, properties=about)

    async def hear(mqtt):
        async for message in mqtt.messages:
            await to_client.send(SessionMessage(types.jsonrpc_message_adapter.validate_json(message.payload, by_name=False)))

    async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, identifier=f"mcp-{next(number)}") as mqtt:
        await mqtt.subscribe(replies, qos=1)
        tasks = [asyncio.create_task(ask(mqtt)), asyncio.create_task(hear(mqtt))]
        try:
            yield answers, requests
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def calls(port, topic, era):
    async with asyncio.timeout(LIMIT_S), Client(over_mqtt(port, topic), mode=era) as client:
        expect(sorted(tool.name for tool in (await client.list_tools()).tools), ["add", "wait"], "tools")
        told = []

        async def progress(done, total, _message):
            told.append((done, total))

        results = await asyncio.gather(*[client.call_tool("add", {"a": a, "b": 40}, progress_callback=progress) for a in range(8)])
        expect([result.content[0].text for result in results], [str(40 + a) for a in range(8)], "sums")
        expect(told, [(1, 2)] * 8, "progress")


async def taken_back(port, topic, era, notes):
    """Who goes away says so, and the tool hears it."""
    begun, cancelled = notes.read_text().count("begun"), notes.read_text().count("cancelled")
    async with asyncio.timeout(LIMIT_S), Client(over_mqtt(port, topic), mode=era) as client:
        call = asyncio.create_task(client.call_tool("wait", {}))
        while notes.read_text().count("begun") == begun:
            await asyncio.sleep(0.05)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        while notes.read_text().count("cancelled") == cancelled:
            await asyncio.sleep(0.05)
        result = await client.call_tool("add", {"a": 1, "b": 1})
        expect(result.content[0].text, "2", "the sum after it")


def main():
    folder = Path(tempfile.mkdtemp(prefix="mqttd-mcp-"))
    notes = folder / "notes"
    notes.touch()
    os.environ["NOTES"] = str(notes)
    try:
        store = redis_server(folder)
        nodes = [node(store, "n1"), node(store, "n2")]
        examples, server, http = Path(os.environ["SDK_EXAMPLES"]), str(HERE / "mcp_server.py"), free_port()
        start([sys.executable, server, str(http)])
        until("the server behind HTTP listens", lambda: listens(http))
        start([examples / "mcp_child_process", store, sys.executable, server])
        start([examples / "mcp_http", store, f"http://127.0.0.1:{http}/mcp"])
        import redis
        client = redis.Redis.from_url(store)
        until("the workers say that they live", lambda: client.zcard("mqttd:{mcp}:workers") == 2)
        for place, topic in (("program", "agents/program/mcp"), ("http", "agents/http/mcp")):
            for at, era in enumerate(ERAS):
                port = nodes[at % 2]
                case(f"interop/mcp/{place}/{era}/calls", lambda: asyncio.run(calls(port, topic, era)))
                case(f"interop/mcp/{place}/{era}/taken-back", lambda: asyncio.run(taken_back(port, topic, era, notes)))
    finally:
        stop_all(folder)
    finish()


main()
