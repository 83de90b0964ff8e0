"""Clients that publish and subscribe while the cluster is hurt, and a checker that is not one of them."""
import collections
import queue
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

IN_FLIGHT = 20
# So far may the slowest subscriber be behind a publisher: what is tested is the cluster, not how much a queue holds.
BEHIND = 2000


class Door:
    """A way into the cluster: a port, over TLS when there is an authority, over WebSocket when there is a path."""

    def __init__(self, name, port, authority=None, path=None):
        self.name, self.port, self.authority, self.path = name, port, authority, path

    def client(self, client_id):
        transport = "websockets" if self.path else "tcp"
        made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, transport=transport)
        if self.path:
            made.ws_set_options(path=self.path)
        if self.authority:
            made.tls_set(self.authority)
        return made


def client(name, door):
    """With a Session that lasts; it comes back by itself."""
    made = door.client(name)
    made.reconnect_delay_set(min_delay=1, max_delay=2)
    made.max_inflight_messages_set(IN_FLIGHT)
    made.max_queued_messages_set(0)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    made.connect_async("localhost", door.port, keepalive=10)
    made._connect_properties = lasting
    made._clean_start = False
    return made


class Publisher(threading.Thread):
    """Publishes 1, 2, 3 … to one topic and knows which were acknowledged."""

    def __init__(self, name, door, qos, subscribers):
        super().__init__(daemon=True)
        self.subscribers = subscribers
        self.topic, self.qos = f"load/{qos}/{name}", qos
        self.acknowledged, self.sent, self.running = set(), {}, True
        self.client = client(name, door)
        # The client calls with its own locks held: what it says is only noted there.
        self.answers = queue.SimpleQueue()
        self.client.on_publish = lambda _client, _userdata, packet_id, reason, _properties: self.answers.put((packet_id, reason.is_failure))
        self.client.loop_start()

    def run(self):
        number = 0
        while self.running:
            while len(self.sent) < IN_FLIGHT and number < BEHIND + min(one.count(self.topic) for one in self.subscribers):
                number += 1
                self.sent[self.client.publish(self.topic, str(number), qos=self.qos).mid] = number
            try:
                packet_id, failed = self.answers.get(timeout=0.1)
            except queue.Empty:
                continue
            answered = self.sent.pop(packet_id)
            if not failed:
                self.acknowledged.add(answered)

    def state(self):
        return f"{self.topic} (connected: {self.client.is_connected()}, {len(self.acknowledged)} acknowledged, {len(self.sent)} in flight)"

    def stop(self):
        self.running = False
        self.join()


class Subscriber:
    """A Session that lasts, and everything that it was given, in order."""

    def __init__(self, name, door, filters):
        self.received = collections.defaultdict(list)
        self.ready = threading.Event()
        self.client = client(name, door)
        self.client.on_connect = lambda client, *_: client.subscribe([(filter, mqtt.SubscribeOptions(qos=2)) for filter in filters])
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _client, _userdata, message: self.received[message.topic].append(int(message.payload))
        self.client.loop_start()

    def count(self, topic):
        return len(self.received.get(topic, ()))


class Load:
    """At each door a subscriber to everything, and a publisher at QoS 1 and one at QoS 2."""

    def __init__(self, doors):
        self.subscribers = [Subscriber(f"sub-{door.name}", door, ["load/#"]) for door in doors]
        for subscriber in self.subscribers:
            if not subscriber.ready.wait(30):
                raise SystemExit("no SUBACK within 30 s")
        self.publishers = [Publisher(f"pub-{door.name}-{qos}", door, qos, self.subscribers) for door in doors for qos in (1, 2)]
        for publisher in self.publishers:
            publisher.start()

    def progress(self, why, each=200, within=90):
        """Waits until every publisher had so many more acknowledged: the cluster works, for all of them."""
        goals = [len(publisher.acknowledged) + each for publisher in self.publishers]
        began = time.monotonic()
        while any(len(publisher.acknowledged) < goal for publisher, goal in zip(self.publishers, goals)):
            if time.monotonic() - began > within:
                stuck = [publisher.state() for publisher, goal in zip(self.publishers, goals) if len(publisher.acknowledged) < goal]
                raise SystemExit(f"{why}: no progress within {within} s for {'; '.join(stuck)}")
            time.sleep(0.1)
        print(f"ok   {why}: {each} more acknowledged for each of {len(goals)} publishers after {time.monotonic() - began:.1f} s", flush=True)

    def finish(self, within=60):
        """Stops, waits for what is due, and says what is wrong."""
        for publisher in self.publishers:
            publisher.stop()
        began, wrong = time.monotonic(), ["?"]
        while wrong and time.monotonic() - began < within:
            time.sleep(1)
            wrong = list(self.wrong())
        total = sum(len(publisher.acknowledged) for publisher in self.publishers)
        print(f"     {total} acknowledged, to {len(self.subscribers)} subscribers each", flush=True)
        return wrong

    def wrong(self):
        for publisher in self.publishers:
            for number, subscriber in enumerate(self.subscribers):
                got = subscriber.received[publisher.topic]
                lost = publisher.acknowledged - set(got)
                if lost:
                    yield f"{publisher.topic}: subscriber {number} lost {len(lost)} of what was acknowledged, as {sorted(lost)[:5]}"
                if publisher.qos == 2 and len(got) != len(set(got)):
                    yield f"{publisher.topic}: subscriber {number} was given {len(got) - len(set(got))} twice at QoS 2"
                first = list(dict.fromkeys(got))
                if first != sorted(first):
                    yield f"{publisher.topic}: subscriber {number} was given messages out of order"
