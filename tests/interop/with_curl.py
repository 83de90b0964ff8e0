"""libcurl's MQTT client (the curl command) against the broker on 127.0.0.1:$MQTT_PORT; paho is the other side.

curl publishes with `-d` at QoS 0 and leaves; it subscribes to the path and prints until --max-time (status 28). What it
prints is all of PUBLISH after the fixed header: the Topic Name with its two bytes of length, then the payload.
"""
import os
import struct
import subprocess
import tempfile

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from queue import Queue

from case import case, expect, finish

PORT = int(os.environ["MQTT_PORT"])
LIMIT_S = 10
OPERATION_TIMEDOUT = 28


def url(topic):
    return f"mqtt://127.0.0.1:{PORT}/{topic}"


def printed(topic, payload):
    return struct.pack("!H", len(topic)) + topic.encode() + payload


def curl(*args, **options):
    return subprocess.run(["curl", "-sS", *args], capture_output=True, timeout=LIMIT_S, **options)


class Paho:
    def __enter__(self):
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.messages, self.acks, self.connacks = Queue(), Queue(), Queue()
        self.client.on_connect = lambda *_: self.connacks.put(None)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda *_: self.acks.put(None)
        self.client.connect("127.0.0.1", PORT)
        self.client.loop_start()
        self.connacks.get(timeout=LIMIT_S)
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic):
        self.client.subscribe(topic, 1)
        self.acks.get(timeout=LIMIT_S)

    def publish(self, topic, payload, retain):
        self.client.publish(topic, payload, 1, retain).wait_for_publish(LIMIT_S)


def publishes(topic, size, *options):
    payload = os.urandom(size)
    with Paho() as other, tempfile.NamedTemporaryFile() as file:
        other.subscribe(topic)
        file.write(payload)
        file.flush()
        done = curl(*options, "--max-time", "5", "--data-binary", f"@{file.name}", url(topic))
        expect((done.returncode, done.stderr), (0, b""), "curl")
        message = other.messages.get(timeout=LIMIT_S)
        expect((message.topic, message.qos, len(message.payload)), (topic, 0, size), "message")
        expect(message.payload == payload, True, "payload")


def subscribes(topic, size):
    """A retained message comes at once; curl stays until its --max-time and then says so."""
    payload = os.urandom(size)
    with Paho() as other:
        other.publish(topic, payload, True)
        done = curl("--max-time", "1", url(topic))
        other.publish(topic, b"", True)
    expect(done.returncode, OPERATION_TIMEDOUT, "curl's status")
    expect(len(done.stdout), 2 + len(topic) + size, "bytes")
    expect(done.stdout == printed(topic, payload), True, "payload")


def follows(topic):
    """Live messages, several on one subscription: published again until curl has subscribed and prints one."""
    with Paho() as other, subprocess.Popen(["curl", "-sSN", "--max-time", str(LIMIT_S), url(topic)], stdout=subprocess.PIPE) as reader:
        other.publish(topic, b"first\n", True)
        expect(reader.stdout.readline(), printed(topic, b"first\n"), "retained or live")
        other.publish(topic, b"second\n", False)
        expect(reader.stdout.readline(), printed(topic, b"second\n"), "live")
        other.publish(topic, b"", True)
        reader.kill()


case("interop/curl/publish", publishes, "curl/publish", 11)
case("interop/curl/publish-empty", publishes, "curl/publish-empty", 0)
case("interop/curl/publish-100k", publishes, "curl/publish-100k", 100_000)
case("interop/curl/publish-1M", publishes, "curl/publish-1M", 1_000_000)
case("interop/curl/publish-as-user", publishes, "curl/publish-as-user", 10, "--user", "someone:secret")
case("interop/curl/subscribe", subscribes, "curl/subscribe", 11)
case("interop/curl/subscribe-100k", subscribes, "curl/subscribe-100k", 100_000)
case("interop/curl/follow", follows, "curl/follow")
finish()
