"""Requests over two nodes on one Redis: workers without our SDK on either lane, mosquitto_rr, and agents of a2a-over-mqtt."""
import asyncio
import base64
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import paho.mqtt.client as paho
import redis
from a2a_over_mqtt import A2ARequest, MqttConfig, Requester, Responder, TopicSpace, build_card
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from case import case, expect, finish
from place import LIMIT_S, node, redis_server, start, stop_all, until

ROOT = Path(__file__).resolve().parent.parent.parent


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
    if len(code) > 30:
        raise AssertionError(f"{len(code)} lines")
    worker.kill()
    worker.wait()


class Asker:
    """Publishes at one node, and hears at another one."""

    def __init__(self, asks, hears):
        self.replies, self.heard = f"replies/{time.time_ns()}", queue.Queue()
        self.hearing, self.asking = self.client(hears), self.client(asks)
        self.hearing.on_message = lambda _client, _data, message: self.heard.put((message.properties.CorrelationData, message.payload))
        subscribed = threading.Event()
        self.hearing.on_subscribe = lambda *_: subscribed.set()
        self.hearing.subscribe(self.replies, qos=1)
        if not subscribed.wait(LIMIT_S):
            raise AssertionError("no SUBACK")

    @staticmethod
    def client(port):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.connect("127.0.0.1", port)
        client.loop_start()
        return client

    def ask(self, topic, payload, data):
        about = Properties(PacketTypes.PUBLISH)
        about.ResponseTopic, about.CorrelationData = self.replies, data
        self.asking.publish(topic, payload, qos=1, properties=about).wait_for_publish(LIMIT_S)

    def close(self):
        for client in (self.asking, self.hearing):
            client.disconnect()
            client.loop_stop()


def work(store, name, claims, ready, done):
    """A worker as short as it can be; without claims each of several does all of the work, and one answer counts."""
    r = redis.Redis.from_url(store)
    channel = r.pubsub(ignore_subscribe_messages=True)
    channel.subscribe("mqttd:mcp:requests")
    channel.get_message(timeout=LIMIT_S)
    ready.set()
    while not done.is_set():
        message = channel.get_message(timeout=0.2)
        if message:
            request = json.loads(message["data"])
            if not claims or r.set(f"mqttd:mcp:claim:{request['correlation_id']}", name, nx=True, px=60_000):
                answer = {"correlation_id": request["correlation_id"], "payload_b64": request["payload_b64"]}
                r.publish("mqttd:mcp:responses", json.dumps(answer))


def redis_py_on_the_channel(store, ports, client, claims):
    done, workers = threading.Event(), []
    for name in ("one", "two", "three"):
        ready = threading.Event()
        workers.append(threading.Thread(target=work, args=(store, name, claims, ready, done)))
        workers[-1].start()
        if not ready.wait(LIMIT_S):
            raise AssertionError("the worker does not subscribe")
    asker = Asker(*ports)
    try:
        for number in range(200):
            asker.ask(f"any/{number}", f"hello {number}", b"%d" % number)
        heard = Counter(asker.heard.get(timeout=LIMIT_S) for _ in range(200))
        expect(heard, Counter({(b"%d" % number, b"hello %d" % number): 1 for number in range(200)}), "answers")
        until("nothing is left", lambda: client.zcard("mqttd:{mcp}:due") == 0)
        # One more goes the same way after them: what else there was would have come before it.
        asker.ask("any/last", "last", b"last")
        expect(asker.heard.get(timeout=LIMIT_S), (b"last", b"last"), "the last answer")
        expect(asker.heard.qsize(), 0, "answers too many")
    finally:
        done.set()
        asker.close()
        for worker in workers:
            worker.join()


def redis_cli_by_hand(store, ports):
    """A person with two terminals."""
    hears = subprocess.Popen(["redis-cli", "-u", store, "SUBSCRIBE", "mqttd:mcp:requests"], stdout=subprocess.PIPE, text=True)
    asker = Asker(*ports)
    try:
        expect([hears.stdout.readline().strip() for _ in range(3)], ["subscribe", "mqttd:mcp:requests", "1"], "redis-cli")
        asker.ask("by/hand", "is anybody there?", b"d")
        expect([hears.stdout.readline().strip() for _ in range(2)], ["message", "mqttd:mcp:requests"], "redis-cli")
        request = json.loads(hears.stdout.readline())
        expect((request["topic"], base64.b64decode(request["payload_b64"])), ("by/hand", b"is anybody there?"), "request")
        expect(list(request)[:4], ["correlation_id", "topic", "payload_b64", "response_topic"], "fields")
        answer = json.dumps({"correlation_id": request["correlation_id"], "payload": "yes"})
        subprocess.run(["redis-cli", "-u", store, "PUBLISH", "mqttd:mcp:responses", answer], check=True, capture_output=True, timeout=LIMIT_S)
        expect(asker.heard.get(timeout=LIMIT_S), (b"d", b"yes"), "answer")
    finally:
        asker.close()
        hears.kill()
        hears.wait()


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
            expect(heard[0][0], "submitted", "what came first")
            expect(heard[1:], [("text", "thinking"), ("artifact", f"You said: hello {number}"), ("terminal", "")], "what came then")
    finally:
        running.cancel()


def main():
    folder = tempfile.mkdtemp(prefix="mqttd-requests-")
    try:
        store = redis_server(folder)
        ports = [node(store, "n1"), node(store, "n2")]
        client = redis.Redis.from_url(store)
        case("interop/requests/python-worker", the_python_worker_answers, store, ports, client)
        case("interop/requests/redis-py-with-claims", redis_py_on_the_channel, store, ports, client, True)
        case("interop/requests/redis-py-without-claims", redis_py_on_the_channel, store, ports, client, False)
        case("interop/requests/redis-cli", redis_cli_by_hand, store, ports)
        case("interop/requests/a2a-over-two-nodes", lambda: asyncio.run(a2a(ports)))
    finally:
        stop_all(folder)
    finish()


main()
