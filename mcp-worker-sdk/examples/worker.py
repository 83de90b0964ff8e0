#!/usr/bin/env python3
"""A worker without an SDK: answers devices/+/echo on the stream lane.  pip install redis;  worker.py redis://127.0.0.1:6379"""
import base64, json, sys, threading, time
import redis

PREFIX, GROUP, NAME = "mqttd", "python-echo", f"python-{time.time_ns()}"
REQUESTS, RESPONSES = f"{PREFIX}:{{mcp}}:requests", f"{PREFIX}:{{mcp}}:responses"
r = redis.Redis.from_url(sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379")


def beat():  # nodes answer "no-worker" at once when nobody says that it lives
    while True:
        r.set(f"{PREFIX}:mcp:worker:{NAME}", json.dumps({"name": NAME, "group": GROUP, "filters": ["devices/+/echo"]}), px=10_000)
        r.zadd(f"{PREFIX}:{{mcp}}:workers", {NAME: r.time()[0] * 1000 + 10_000})
        time.sleep(3)


def handle(request):  # whatever it returns is the answer
    return base64.b64decode(request["payload_b64"])


try:
    r.xgroup_create(REQUESTS, GROUP, "0", mkstream=True)
except redis.ResponseError:
    pass  # the group is there already
threading.Thread(target=beat, daemon=True).start()
while True:
    left = r.xautoclaim(REQUESTS, GROUP, NAME, 15_000, count=1)[1]  # what a dead worker had
    new = r.xreadgroup(GROUP, NAME, {REQUESTS: ">"}, count=1, block=2000)
    for entry, fields in left + [e for _, entries in new for e in entries]:
        request = json.loads(fields[b"json"])
        levels = request["topic"].split("/")
        if len(levels) == 3 and levels[0] == "devices" and levels[2] == "echo":
            answer = {"correlation_id": request["correlation_id"], "payload_b64": base64.b64encode(handle(request)).decode()}
            r.xadd(RESPONSES, {"json": json.dumps(answer)})
            r.xdel(REQUESTS, entry)
        r.xack(REQUESTS, GROUP, entry)
