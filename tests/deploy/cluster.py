"""compose.yaml for real: a cluster that is hurt in every way a person can try, under load. A project of its own, removed at the end."""
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
import uuid

import workload

PROJECT = f"mqttdtest{uuid.uuid4().hex[:8]}"
UP_S = 180


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PORTS = {name: str(free_port()) for name in ["MQTTD_PORT", "MQTTD_TLS_PORT", "MQTTD_WS_PORT", "MQTTD_BALANCER_PORT"]}
# An engine within a container may not raise the limit of open files.
FILES = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
ENVIRONMENT = dict(os.environ, COMPOSE_PROJECT_NAME=PROJECT, MQTTD_NOFILE=FILES, **PORTS)


def run(*argv, check=True, timeout=UP_S):
    done = subprocess.run(argv, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def compose(*argv, **options):
    return run("docker-compose", "-f", "compose.yaml", *argv, **options)


def nodes():
    """The containers of nodes that run."""
    return compose("ps", "-q", "node").split()


def wait(what, condition, within=UP_S):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within:
            raise SystemExit(f"{what}: not within {within} s\n{compose('ps', '-a', check=False)}\n{compose('logs', '--tail', '40', check=False)[-6000:]}")
        time.sleep(0.5)


def healthy(container):
    return run("docker", "inspect", "-f", "{{.State.Health.Status}}", container, check=False).strip() == "healthy"


def all_healthy(count):
    wait(f"{count} healthy nodes", lambda: len(nodes()) == count and all(map(healthy, nodes())))


def third_parties():
    """The usual clients, through the balancer."""
    port = PORTS["MQTTD_PORT"]
    if shutil.which("mosquitto_pub") is None:
        raise SystemExit("mosquitto_pub is needed here: apt-get install mosquitto-clients")
    run("mosquitto_pub", "-p", port, "-V", "5", "-q", "1", "-r", "-t", "try/retained", "-m", "hi")
    heard = run("mosquitto_sub", "-p", port, "-t", "try/#", "-C", "1", "-W", "10").strip()
    if heard != "hi":
        raise SystemExit(f"mosquitto_sub heard {heard!r}")
    print("ok   mosquitto_pub and mosquitto_sub through the balancer")
    answer = run("mosquitto_rr", "-p", port, "-V", "5", "-q", "1", "-t", "agents/calculator/mcp", "-e", "try/answer", "-W", "10", "-m",
                 '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
                 '"io.modelcontextprotocol/clientCapabilities":{}}}}', check=False).strip()
    if '"add"' not in answer:
        raise SystemExit(f"the worker answered {answer!r}")
    print("ok   the MCP worker answers mosquitto_rr")


def hurt(load):
    load.progress("three nodes")
    victim = nodes()[0]
    run("docker", "kill", "-s", "KILL", victim)
    load.progress("a node killed")
    run("docker", "start", victim)
    all_healthy(3)
    compose("restart", "-t", "20", "redis")
    load.progress("Redis restarted")
    run("docker", "kill", "-s", "KILL", compose("ps", "-q", "redis").strip())
    run("docker", "start", compose("ps", "-a", "-q", "redis").strip())
    load.progress("Redis killed")
    for node in nodes():
        run("docker", "restart", "-t", "45", node)
        wait("a restarted node", lambda: healthy(node))
        load.progress("a node replaced")
    compose("up", "-d", "--no-build", "--scale", "node=5", "--no-recreate")
    all_healthy(5)
    load.progress("five nodes")
    compose("up", "-d", "--no-build", "--scale", "node=3", "--no-recreate")
    wait("three nodes again", lambda: len(nodes()) == 3)
    load.progress("three nodes again")


def main():
    try:
        began = time.monotonic()
        compose("up", "-d", "--no-build", "--quiet-pull")
        all_healthy(3)
        first = ["mosquitto_pub", "-p", PORTS["MQTTD_PORT"], "-q", "1", "-t", "try/first", "-n"]
        wait("the balancer", lambda: subprocess.run(first, capture_output=True).returncode == 0)
        print(f"ok   the cluster is up after {time.monotonic() - began:.1f} s", flush=True)
        third_parties()
        load = workload.Load(int(PORTS["MQTTD_PORT"]))
        hurt(load)
        wrong = load.finish()
        for line in wrong:
            print(f"FAIL {line}")
        if not wrong:
            print("ok   nothing that was acknowledged is lost, nothing twice at QoS 2, all in order")
        return 1 if wrong else 0
    finally:
        compose("down", "-v", "-t", "5", check=False)


if __name__ == "__main__":
    sys.exit(main())
