"""aiomqtt (asyncio) against the broker on 127.0.0.1:$MQTT_PORT."""
import asyncio
import os

import aiomqtt

from case import case, expect, finish

PORT = int(os.environ["MQTT_PORT"])
LIMIT_S = 15
VERSIONS = {"v3": aiomqtt.ProtocolVersion.V311, "v5": aiomqtt.ProtocolVersion.V5}


def client(label, **options):
    return aiomqtt.Client("127.0.0.1", PORT, protocol=VERSIONS[label], **options)


async def delivers(label, topic):
    """Twenty publishers at once, each with messages of every QoS; the subscriber hears each once."""
    async with client(label) as subscriber:
        await subscriber.subscribe(topic + "/+", qos=2)

        async def publisher(n):
            async with client(label) as one:
                for qos in (0, 1, 2):
                    await one.publish(f"{topic}/{n}", f"{qos}", qos=qos)

        await asyncio.gather(*(publisher(n) for n in range(20)))
        heard = [await anext(subscriber.messages) for _ in range(60)]
    expect(sorted((m.topic.value, m.qos, m.payload.decode()) for m in heard),
           sorted((f"{topic}/{n}", qos, str(qos)) for n in range(20) for qos in (0, 1, 2)), "messages")


async def leaves_will(label, topic):
    async with client(label) as watcher:
        await watcher.subscribe(topic, qos=1)
        lost = client(label, will=aiomqtt.Will(topic, "gone", qos=1))
        await lost.__aenter__()
        lost._client.socket().close()
        message = await anext(watcher.messages)
    expect((message.payload, message.qos), (b"gone", 1), "Will")


def bounded(body, *args):
    async def limited():
        await asyncio.wait_for(body(*args), LIMIT_S)

    asyncio.run(limited())


for label in VERSIONS:
    for name, body in (("publishers", delivers), ("will", leaves_will)):
        case(f"interop/aiomqtt/{label}/{name}", bounded, body, label, f"aiomqtt/{label}/{name}")
finish()
