"""gmqtt (asyncio, a codec of its own) against the broker on 127.0.0.1:$MQTT_PORT."""
import asyncio
import os
import uuid

import gmqtt

from case import case, expect, finish

PORT = int(os.environ["MQTT_PORT"])
LIMIT_S = 15
VERSIONS = {"v3": gmqtt.constants.MQTTv311, "v5": gmqtt.constants.MQTTv50}


class Party:
    def __init__(self, **connect):
        self.client = gmqtt.Client(uuid.uuid4().hex, **connect)
        self.messages, self.acks = asyncio.Queue(), asyncio.Queue()
        self.client.on_message = self._heard
        self.client.on_subscribe = lambda client, mid, qos, properties: self.acks.put_nowait(qos)

    async def _heard(self, client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, payload, qos, properties))
        return 0

    async def __aenter__(self):
        self.client.set_config({"reconnect_retries": 0})
        await self.client.connect("127.0.0.1", PORT, version=self.version)
        return self

    async def __aexit__(self, *_):
        await self.client.disconnect()


async def delivers(label, topic):
    Party.version = VERSIONS[label]
    async with Party() as one, Party() as two:
        one.client.subscribe(topic, 2)
        await one.acks.get()
        for qos in (0, 1, 2):
            two.client.publish(topic, f"m{qos}", qos=qos)
            heard = await one.messages.get()
            expect(heard[:3], (topic, f"m{qos}".encode(), qos), "message")


async def keeps_properties(label, topic):
    Party.version = VERSIONS[label]
    async with Party() as one, Party() as two:
        one.client.subscribe(topic, 1, subscription_identifier=5)
        await one.acks.get()
        two.client.publish(topic, "p", qos=1, user_property=[("b", "1"), ("a", "2")], content_type="text/x",
                           response_topic="answers", correlation_data=b"c", message_expiry_interval=100)
        properties = (await one.messages.get())[3]
    for name, wanted in (("user_property", [("b", "1"), ("a", "2")]), ("content_type", ["text/x"]),
                         ("response_topic", ["answers"]), ("correlation_data", [b"c"]), ("subscription_identifier", [5])):
        expect(properties.get(name), wanted, name)


def bounded(body, *args):
    async def limited():
        await asyncio.wait_for(body(*args), LIMIT_S)

    asyncio.run(limited())


for label in VERSIONS:
    case(f"interop/gmqtt/{label}/deliver", bounded, delivers, label, f"gmqtt/{label}/deliver")
case("interop/gmqtt/v5/properties", bounded, keeps_properties, "v5", "gmqtt/v5/properties")
finish()
