"""Requests over two nodes on one Redis: the Python worker of the SDK's documents, mosquitto_rr, and agents of a2a-over-mqtt."""
import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import redis
from a2a_over_mqtt import A2ARequest, MqttConfig, Requester, Responder, TopicSpace, build_card

from case import case, expect, finish

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 20
started = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, is_so):
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def start(argv):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MQTTD_")}
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started.append(process)
    return process


def node(store, name):
    port = free_port()
    start([os.environ["BROKER"], "--listen", f"tcp://127.0.0.1:{port}", "--admin", "off", "--store", store, "--node-id", name])
    until(f"{name} listens", lambda: listens(port))
    return port


def ask(port, topic, message, *more):
    argv = ["mosquitto_rr", "-V", "5", "-p", str(port), "-t", topic, "-e", f"replies/{time.time_ns()}", "-m", message, "-W", "10", "-q", "1", *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S).stdout.strip()


def the_python_worker_answers(store, ports, client):
    worker = start([sys.executable, str(ROOT / "mcp-worker-sdk/examples/worker.py"), store])
    until("the worker says that it lives", lambda: client.zcard("mqttd:{mcp}:workers") == 1)
    for number in range(20):
        expect(ask(ports[number % 2], f"devices/{number}/echo", f"hello {number}"), f"hello {number}", "answer")
    until("nothing is left", lambda: client.xlen("mqttd:{mcp}:requests") == 0 and client.zcard("mqttd:{mcp}:due") == 0)
    lines = (ROOT / "mcp-worker-sdk/examples/worker.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("#", '"""'))]
    if len(code) > 35:
        raise AssertionError(f"{len(code)} lines")
    worker.kill()
    worker.wait()


class Agent(Responder):
    async def on_request(self, request, stream):
        await stream("thinking")
        return f"You said: {request.text}"


async def a2a(ports):
    topics = TopicSpace(org="org", unit="unit")
    card = build_card(name="Echo", description="Says it again", url=f"mqtt://127.0.0.1:{ports[0]}")
    agent = Agent(agent_id="echo", mqtt=MqttConfig(host="127.0.0.1", port=ports[0]), topics=topics, card=card)
    running = asyncio.create_task(agent.run())
    requester = Requester(MqttConfig(host="127.0.0.1", port=ports[1]), topics)
    try:
        for number in range(3):
            heard = []
            asked = A2ARequest(text=f"hello {number}", request_id=f"request-{number}")
            async with asyncio.timeout(LIMIT_S):
                async for kind, content in requester.stream("echo", asked.to_json(), f"corr-{number}"):
                    heard.append((str(kind), str(content)))
            if not any(f"You said: hello {number}" in content for _, content in heard):
                raise AssertionError(f"heard {heard}")
    finally:
        running.cancel()


def main():
    folder = tempfile.mkdtemp(prefix="mqttd-requests-")
    port = free_port()
    start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder])
    try:
        until("Redis listens", lambda: listens(port))
        store = f"redis://127.0.0.1:{port}"
        ports = [node(store, "n1"), node(store, "n2")]
        client = redis.Redis.from_url(store)
        case("interop/requests/python-worker", the_python_worker_answers, store, ports, client)
        case("interop/requests/a2a-over-two-nodes", lambda: asyncio.run(a2a(ports)))
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    finish()


main()
