"""paho-mqtt (Python) against the broker on 127.0.0.1:$MQTT_PORT, MQTT 3.1.1 and 5.0."""
import os
import queue
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from case import case, expect, finish

PORT = int(os.environ["MQTT_PORT"])
LIMIT_S = 10
V3, V5 = paho.MQTTv311, paho.MQTTv5


def properties(packet, **values):
    made = Properties(packet)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Party:
    """One client whose events are queues, so that a case awaits them instead of sleeping."""

    def __init__(self, version, client_id="", clean=True, will=None, expiry_s=None, **connect):
        self.version = version
        keep = {} if version == V5 else {"clean_session": clean}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, **keep)
        self.messages, self.acks, self.connacks, self.ends = (queue.Queue() for _ in range(4))
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_connect = lambda c, u, flags, code, props: self.connacks.put((flags, code, props))
        self.client.on_subscribe = lambda c, u, mid, codes, props: self.acks.put(codes)
        self.client.on_unsubscribe = lambda c, u, mid, codes, props: self.acks.put(codes)
        self.client.on_disconnect = lambda c, u, flags, code, props: self.ends.put((flags, code))
        self.client.reconnect_delay_set(60, 60)  # a case reconnects by itself or not at all
        if will:
            self.client.will_set(**will)
        if version == V5:
            if expiry_s is not None:
                connect["SessionExpiryInterval"] = expiry_s
            connect = {"clean_start": clean, "properties": properties(PacketTypes.CONNECT, **connect)}
        self.client.connect("127.0.0.1", PORT, 60, **connect)
        self.client.loop_start()
        flags, code, self.connack = self.connacks.get(timeout=LIMIT_S)
        expect(code.value, 0, "CONNACK")
        self.session_present = flags.session_present

    def subscribe(self, topic_filter, qos=0, identifier=None, **options):
        if self.version == V5:
            props = properties(PacketTypes.SUBSCRIBE, **({"SubscriptionIdentifier": identifier} if identifier else {}))
            self.client.subscribe(topic_filter, options=SubscribeOptions(qos, **options), properties=props)
        else:
            self.client.subscribe(topic_filter, qos)
        return [code.value for code in self.acks.get(timeout=LIMIT_S)]

    def unsubscribe(self, topic_filter):
        self.client.unsubscribe(topic_filter)
        return [code.value for code in self.acks.get(timeout=LIMIT_S)]

    def publish(self, topic, payload, qos=0, retain=False, **props):
        props = properties(PacketTypes.PUBLISH, **props) if props else None
        sent = self.client.publish(topic, payload, qos, retain, props)
        sent.wait_for_publish(LIMIT_S)
        expect(sent.is_published(), True, "acknowledged")

    def next(self, limit_s=LIMIT_S):
        try:
            return self.messages.get(timeout=limit_s)
        except queue.Empty:
            raise AssertionError("no message came") from None

    def hears(self, topic, payload, qos, retain=False):
        message = self.next()
        expect((message.topic, message.payload, message.qos, message.retain), (topic, payload, qos, retain), "message")
        return message

    def hears_nothing_before(self, other, topic):
        """A message sent now is the next one heard, so nothing else was under way."""
        other.publish(topic, b"end", 1)
        expect(self.next().payload, b"end", "payload")

    def leave(self, reason=None, **props):
        reason = ReasonCode(PacketTypes.DISCONNECT, reason) if reason else None
        self.client.disconnect(reason, properties(PacketTypes.DISCONNECT, **props) if props else None)
        self.client.loop_stop()

    def vanish(self):
        """The Network Connection is lost without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def delivers(version, topic, qos):
    one, two = Party(version), Party(version)
    expect(one.subscribe(topic, qos), [qos], "SUBACK")
    two.publish(topic, b"\x00\xff hello", qos)
    one.hears(topic, b"\x00\xff hello", qos)
    expect(one.unsubscribe(topic), [0] if version == V5 else [], "UNSUBACK")
    two.publish(topic, b"unheard", qos)
    one.subscribe(topic + "/end", 1)
    one.hears_nothing_before(two, topic + "/end")
    one.leave(), two.leave()


def streams(version, topic, count):
    """Many QoS 2 messages in flight at once arrive exactly once, in order."""
    one, two = Party(version), Party(version)
    one.subscribe(topic, 2)
    sent = [two.client.publish(topic, str(n), 2) for n in range(count)]
    got = [int(one.next().payload) for _ in range(count)]
    expect(got, list(range(count)), "order")
    for message in sent:
        message.wait_for_publish(LIMIT_S)
    one.hears_nothing_before(two, topic)
    one.leave(), two.leave()


def retains(version, topic):
    two = Party(version)
    two.publish(topic + "/kept", b"old", 1, True)
    two.publish(topic + "/kept", b"kept", 2, True)
    two.publish(topic + "/gone", b"gone", 1, True)
    two.publish(topic + "/gone", b"", 1, True)
    one = Party(version)
    one.subscribe(topic + "/+", 2)
    one.hears(topic + "/kept", b"kept", 2, True)
    two.publish(topic + "/kept", b"live", 1, True)
    one.hears(topic + "/kept", b"live", 1, False)
    two.publish(topic + "/kept", b"", 1, True)
    one.hears(topic + "/kept", b"", 1, False)
    one.leave(), two.leave()


def wills(version, topic):
    one = Party(version)
    one.subscribe(topic, 2)
    Party(version, will={"topic": topic, "payload": "left well", "qos": 1}).leave()
    Party(version, will={"topic": topic, "payload": "lost", "qos": 2, "retain": True}).vanish()
    one.hears(topic, b"lost", 2)
    later = Party(version)
    later.subscribe(topic, 2)
    later.hears(topic, b"lost", 2, True)
    later.publish(topic, b"", 1, True)
    one.leave(), later.leave()


def resumes(version, topic):
    name, expiry = topic.replace("/", "-"), 600 if version == V5 else None
    one = Party(version, name, True, expiry_s=expiry)
    one.leave()
    one = Party(version, name, False, expiry_s=expiry)
    expect(one.subscribe(topic, 2), [2], "SUBACK")
    one.leave()
    two = Party(version)
    for n in range(50):
        two.publish(topic, str(n), 1 + n % 2)
    one = Party(version, name, False, expiry_s=expiry)
    expect(one.session_present, True, "Session Present")
    # paho hands a QoS 2 message on at PUBREL, so the two levels are each in order, not one with the other
    got = [one.next() for _ in range(50)]
    for qos in (1, 2):
        expect([int(m.payload) for m in got if m.qos == qos], list(range(qos - 1, 50, 2)), f"QoS {qos}")
    one.leave()
    one = Party(version, name, True)
    expect(one.session_present, False, "Session Present after a clean start")
    two.publish(topic, b"unheard", 1)
    one.subscribe(topic + "/end", 1)
    one.hears_nothing_before(two, topic + "/end")
    one.leave(), two.leave()


def takes_over(version, topic):
    name = topic.replace("/", "-")
    first = Party(version, name)
    second = Party(version, name)
    flags, code = first.ends.get(timeout=LIMIT_S)
    if version == V5:
        expect((flags.is_disconnect_packet_from_server, code.value), (True, 0x8E), "DISCONNECT of the first")
    first.client.loop_stop()
    second.subscribe(topic, 1)
    second.publish(topic, b"mine", 1)
    second.hears(topic, b"mine", 1)
    second.leave()


def is_large(version, topic, size):
    one = Party(version)
    one.subscribe(topic, 2)
    payload = os.urandom(size)
    for qos in (0, 1, 2):
        one.publish(topic, payload, qos)
        one.hears(topic, payload, qos)
    one.leave()


def keeps_properties(topic):
    one, two = Party(V5), Party(V5)
    one.subscribe(topic, 1, identifier=268435455)
    given = dict(UserProperty=[("b", "1"), ("a", "2"), ("b", "3"), ("", "")], ContentType="text/x", PayloadFormatIndicator=1,
                 ResponseTopic="answers", CorrelationData=b"\x00\x01")
    two.publish(topic, b"p", 1, MessageExpiryInterval=100, **given)
    got = one.next().properties
    for name, value in given.items():
        expect(getattr(got, name), value, name)
    expect(got.SubscriptionIdentifier, [268435455], "Subscription Identifier")
    expect(95 <= got.MessageExpiryInterval <= 100, True, "Message Expiry Interval")
    one.leave(), two.leave()


def heeds_options(topic):
    one, two = Party(V5), Party(V5)
    one.subscribe(topic + "/mine", 1, noLocal=True)
    one.publish(topic + "/mine", b"own", 1)
    one.hears_nothing_before(two, topic + "/mine")
    two.publish(topic + "/kept", b"kept", 1, True)
    one.subscribe(topic + "/kept", 1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
    two.publish(topic + "/kept", b"live", 1, True)
    one.hears(topic + "/kept", b"live", 1, True)
    one.subscribe(topic + "/kept", 1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    one.hears_nothing_before(two, topic + "/mine")
    one.subscribe(topic + "/kept", 0, retainHandling=SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE)
    one.hears(topic + "/kept", b"live", 0, True)
    two.publish(topic + "/kept", b"", 1, True)
    one.leave(), two.leave()


def overlaps(topic):
    """One copy at the highest QoS with every matching Subscription Identifier."""
    one = Party(V5)
    one.subscribe(topic + "/+", 1, identifier=1)
    one.subscribe(topic + "/#", 2, identifier=2)
    one.publish(topic + "/x", b"m", 2)
    got = one.hears(topic + "/x", b"m", 2)
    expect(sorted(got.properties.SubscriptionIdentifier), [1, 2], "Subscription Identifiers")
    one.hears_nothing_before(one, topic + "/end")
    one.leave()


def shares(version, topic):
    members, publisher = [Party(version) for _ in range(3)], Party(version)
    lock, got, done = threading.Lock(), [], threading.Event()

    def heard(member):
        def on_message(client, userdata, message):
            with lock:
                got.append((member, int(message.payload)))
                if len(got) == 60:
                    done.set()
        return on_message

    for n, member in enumerate(members):
        member.client.on_message = heard(n)
        expect(member.subscribe(f"$share/g/{topic}/+", 1), [1], "SUBACK")
    for n in range(60):
        publisher.publish(f"{topic}/x", str(n), 1)
    expect(done.wait(LIMIT_S), True, "sixty messages")
    expect(sorted(n for _, n in got), list(range(60)), "each once")
    expect(len({member for member, _ in got}), 3, "members that got some")
    for party in [*members, publisher]:
        party.leave()


def aliases(topic):
    one, two = Party(V5), Party(V5)
    expect(getattr(two.connack, "TopicAliasMaximum", 0) > 0, True, "Topic Alias Maximum")
    one.subscribe(topic, 1)
    two.publish(topic, b"first", 1, TopicAlias=1)
    two.publish("", b"second", 1, TopicAlias=1)
    one.hears(topic, b"first", 1), one.hears(topic, b"second", 1)
    one.leave(), two.leave()


def answers_reason_codes(topic):
    one = Party(V5)
    expect(one.unsubscribe(topic + "/never"), [0x11], "UNSUBACK")
    expect(one.subscribe("$share/g/" + topic, 2), [2], "SUBACK")
    expect(hasattr(one.connack, "AssignedClientIdentifier"), True, "Assigned Client Identifier")
    one.leave()


def delays_will(topic):
    one = Party(V5)
    one.subscribe(topic, 1)
    will = {"topic": topic, "payload": "late", "qos": 1, "properties": properties(PacketTypes.WILLMESSAGE, WillDelayInterval=1)}
    name = topic.replace("/", "-")
    Party(V5, name, will=will, expiry_s=600).vanish()
    back = Party(V5, name, False, will=will, expiry_s=600)  # in time: this Will is not sent
    expect(back.session_present, True, "Session Present")
    one.hears_nothing_before(one, topic)
    back.vanish()
    one.hears(topic, b"late", 1)
    one.leave()


def expires(topic):
    """A message that outlives its Message Expiry Interval in a queue is not delivered."""
    name = topic.replace("/", "-")
    one = Party(V5, name, expiry_s=600)
    one.subscribe(topic + "/#", 1)
    one.leave()
    two = Party(V5)
    two.subscribe(topic + "/clock", 1)
    two.publish(topic + "/short", b"short", 1, MessageExpiryInterval=1)
    two.publish(topic + "/long", b"long", 1, MessageExpiryInterval=100)
    # the broker's own clock tells when a second is over: a delayed Will of one second
    will = {"topic": topic + "/clock", "payload": "now", "qos": 1,
            "properties": properties(PacketTypes.WILLMESSAGE, WillDelayInterval=2)}
    Party(V5, will=will, expiry_s=600).vanish()
    two.hears(topic + "/clock", b"now", 1)
    one = Party(V5, name, False, expiry_s=600)
    one.hears(topic + "/long", b"long", 1)
    one.hears(topic + "/clock", b"now", 1)
    one.leave(), two.leave()


def ends_session_at_disconnect(topic):
    """DISCONNECT 0x04 with a Session Expiry Interval of 0: the Will goes out and the session is gone."""
    name = topic.replace("/", "-")
    watcher = Party(V5)
    watcher.subscribe(topic, 1)
    one = Party(V5, name, will={"topic": topic, "payload": "over", "qos": 1}, expiry_s=600)
    one.leave("Disconnect with will message", SessionExpiryInterval=0)
    watcher.hears(topic, b"over", 1)
    again = Party(V5, name, False)
    expect(again.session_present, False, "Session Present")
    again.leave(), watcher.leave()


for version, label in ((V3, "v3"), (V5, "v5")):
    for qos in (0, 1, 2):
        case(f"interop/paho/{label}/qos{qos}", delivers, version, f"paho/{label}/qos{qos}", qos)
    for name, body, *more in (("stream", streams, 1000), ("retained", retains), ("will", wills), ("resume", resumes),
                              ("take-over", takes_over), ("large", is_large, 1_000_000), ("shared", shares)):
        case(f"interop/paho/{label}/{name}", body, version, f"paho/{label}/{name}", *more)
for name, body in (("properties", keeps_properties), ("options", heeds_options), ("overlap", overlaps), ("alias", aliases),
                   ("reason-codes", answers_reason_codes), ("will-delay", delays_will), ("expiry", expires),
                   ("session-end", ends_session_at_disconnect)):
    case(f"interop/paho/v5/{name}", body, f"paho/v5/{name}")
finish()
