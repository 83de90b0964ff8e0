"""A cluster that is hurt in every way a person can try, under load, with Prometheus beside it; the messages are counted by a checker."""
import os
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as mqtt

import dashboard
import workload
from engine import COMMAND_S, Cluster, docker, healthy, program, run, say

STOP_S = 45  # as stop_grace_period of a node: longer than its drain


def third_parties(cluster, doors):
    """The usual clients, each through its door of the balancer; what one retains, the others are given."""
    tcp, tls, _ = doors
    at = ["-h", "localhost", "-p", str(tcp.port)]
    within = ["-h", "localhost", "-p", str(tls.port), "--cafile", tls.authority]
    run("mosquitto_pub", *at, "-V", "5", "-q", "1", "-r", "-t", "try/tcp", "-m", "by tcp")
    run("mosquitto_pub", *within, "-V", "311", "-q", "1", "-r", "-t", "try/tls", "-m", "by tls")
    for door, options in [("tcp", at), ("tls", within)]:
        heard = sorted(run("mosquitto_sub", *options, "-t", "try/+", "-q", "1", "-C", "2", "-W", "10").splitlines())
        if heard != ["by tcp", "by tls"]:
            raise SystemExit(f"mosquitto_sub over {door} heard {heard}")
        say(f"ok   mosquitto_pub and mosquitto_sub over {door}")
    for door in doors:
        with_paho(door)
        say(f"ok   paho over {door.name}")
    cluster.wait("an answer of the MCP worker", cluster.calculates)
    say("ok   the MCP worker answers mosquitto_rr")


def with_paho(door):
    client, heard, whole = door.client(f"try-{door.name}"), set(), threading.Event()

    def on_message(_client, _userdata, message):
        heard.add(message.payload.decode())
        if heard >= {"by tcp", "by tls"}:
            whole.set()

    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe("try/+", options=mqtt.SubscribeOptions(qos=1))
    client.connect("localhost", door.port)
    client.loop_start()
    if not whole.wait(30):
        raise SystemExit(f"paho over {door.name} heard {sorted(heard)} within 30 s")
    client.disconnect()
    client.loop_stop()


def hurt(cluster, load):
    load.progress("three nodes")
    victim = cluster.containers("node")[0]
    docker("kill", "-s", "KILL", victim)
    load.progress("a node killed")
    docker("start", victim)
    cluster.all_healthy("node", 3)
    load.progress("it is back")
    cluster.compose("restart", "-t", "20", "redis")
    load.progress("Redis restarted")
    redis = cluster.containers("redis")[0]
    docker("kill", "-s", "KILL", redis)
    docker("start", redis)
    load.progress("Redis killed")
    cluster.all_healthy("node", 3)
    # Whoever has buried the node that was killed counts it, and would forget that when it is restarted before anybody asks.
    cluster.wait("the alert of the node that was killed", lambda: dashboard.shows(cluster, dashboard.BURIED))
    for number, node in enumerate(cluster.containers("node"), 1):
        began = time.monotonic()
        docker("restart", "-t", str(STOP_S), node)
        cluster.wait("the restarted node", lambda: healthy(node))
        load.progress(f"node {number} of 3 restarted within {time.monotonic() - began:.1f} s")
    cluster.scale(5)
    cluster.all_healthy("node", 5)
    load.progress("five nodes")
    cluster.scale(3)
    cluster.all_healthy("node", 3)
    load.progress("three nodes again")


def restored(cluster, folder):
    """A backup is made, everything is lost, and it is played back."""
    port, file = str(cluster.ports["MQTTD_PORT"]), f"{folder}/backup.rdb"
    environment = dict(cluster.environment, COMPOSE=" ".join(["docker-compose", *cluster.files]))
    run("mosquitto_sub", "-p", port, "-c", "-i", "saved", "-q", "1", "-t", "saved", "-E")
    run("mosquitto_pub", "-p", port, "-q", "1", "-r", "-t", "saved", "-m", "before")
    run("deploy/compose/backup", file, environment=environment)
    run("mosquitto_pub", "-p", port, "-q", "1", "-r", "-t", "saved", "-m", "after")
    run("deploy/compose/restore", file, environment=environment)
    cluster.all_healthy("node", 3)
    cluster.wait("the balancer", cluster.published)
    heard = run("mosquitto_sub", "-p", port, "-c", "-i", "saved", "-q", "1", "-t", "saved", "-C", "1", "-W", "10", check=False)
    if heard != "before":
        raise SystemExit(f"after a restore the session was given {heard!r}")
    say(f"ok   a backup of {os.path.getsize(file) / 1e6:.1f} MB is played back: the session is there with its queue")


def drills(cluster, folder):
    began = time.monotonic()
    cluster.up("balancer", "worker", "prometheus")
    cluster.all_healthy("node", 3)
    say(f"ok   three healthy nodes after {time.monotonic() - began:.1f} s")
    cluster.wait("the balancer", cluster.published)
    say(f"ok   a message came through the balancer after {time.monotonic() - began:.1f} s")
    doors = [
        workload.Door("tcp", cluster.ports["MQTTD_PORT"]),
        workload.Door("tls", cluster.ports["MQTTD_TLS_PORT"], authority=f"{folder}/ca.pem"),
        workload.Door("websocket", cluster.ports["MQTTD_WS_PORT"], path="/mqtt"),
    ]
    third_parties(cluster, doors)
    load = workload.Load(doors)
    hurt(cluster, load)
    wrong = dashboard.wrong(cluster) + load.finish()
    for line in wrong:
        say(f"FAIL {line}")
    if not wrong:
        say("ok   nothing that was acknowledged is lost, nothing came twice at QoS 2, all in order")
        restored(cluster, folder)
    return 1 if wrong else 0


def main():
    for name, package in [("mosquitto_rr", "mosquitto-clients"), ("openssl", "openssl")]:
        program(name, package)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["deploy/compose/certificates", "localhost"], env=dict(os.environ, MQTTD_TLS_FOLDER=folder), check=True, timeout=COMMAND_S)
        with Cluster("metrics", files=["compose.yaml", "deploy/compose/tls.yaml"], MQTTD_TLS_FOLDER=folder) as cluster:
            return drills(cluster, folder)


if __name__ == "__main__":
    sys.exit(main())
