"""compose.yaml under a name of its own and on free ports: a cluster that a test has for itself, and of which nothing is left."""
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

COMMAND_S, UP_S = 180, 120  # the longest that one command of the engine, and that a container until it is healthy, may take
TOLD_EACH_S = 15  # so often does a wait say that it waits

# Whoever ends a test by a signal ends it as an error does: what it made is taken down.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))

# 40 + 2, as an MCP client asks for it.
CALCULATOR = (
    '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":40,"b":2},'
    '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'
)


def say(line):
    print(line, flush=True)


def free_port():
    """Of those that the machine gives to nobody by itself: it is still free when a container takes it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def run(*argv, check=True, timeout=COMMAND_S, environment=None):
    """What it wrote to its output; it fails when the program does."""
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)}: {(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def docker(*argv, **options):
    return run("docker", *argv, **options)


def healthy(container):
    return docker("inspect", "-f", "{{.State.Health.Status}}", container, check=False) == "healthy"


class Cluster:
    """Used with `with`: what was brought up is down afterwards, with its volumes and networks."""

    def __init__(self, *profiles, files=("compose.yaml",), **settings):
        self.name = f"mqttdtest{uuid.uuid4().hex[:8]}"
        doors = ["MQTTD_PORT", "MQTTD_TLS_PORT", "MQTTD_WS_PORT", "MQTTD_BALANCER_PORT", "MQTTD_PROMETHEUS_PORT"]
        self.ports = {name: free_port() for name in doors}
        # An engine within a container may not raise the limit of open files.
        files_max = str(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        self.environment = dict(
            os.environ,
            COMPOSE_PROJECT_NAME=self.name,
            COMPOSE_PROFILES=",".join(profiles),
            MQTTD_NOFILE=files_max,
            **{name: str(port) for name, port in self.ports.items()},
            **settings,
        )
        self.files = [word for file in files for word in ("-f", file)]

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error:
            say(f"{self.compose('ps', '-a', check=False)}\n{self.compose('logs', '--no-color', '--tail', '40', check=False)[-12000:]}")
        self.compose("down", "-v", "-t", "5", "--remove-orphans", check=False)
        left = [kind for kind in ("container", "volume", "network") if docker(kind, "ls", "-q", "--filter", f"label=com.docker.compose.project={self.name}", *(["-a"] if kind == "container" else []))]
        say(f"{'FAIL' if left else 'ok  '} {self.name} is taken down{': left are ' + ', '.join(left) if left else ''}")

    def compose(self, *argv, **options):
        return run("docker-compose", *self.files, *argv, environment=self.environment, **options)

    def up(self, *services):
        self.compose("up", "-d", "--no-build", "--quiet-pull", *services)

    def scale(self, count):
        self.compose("up", "-d", "--no-build", "--no-recreate", "--scale", f"node={count}", "node")

    def containers(self, service):
        """Those of the service that run."""
        return self.compose("ps", "-q", service).split()

    def wait(self, what, condition, within=UP_S):
        began = told = time.monotonic()
        while not condition():
            now = time.monotonic()
            if now - began > within:
                raise SystemExit(f"{what}: not within {within} s")
            if now - told > TOLD_EACH_S:
                told = now
                say(f"     waiting for {what} since {now - began:.0f} s")
            time.sleep(0.5)

    def calculates(self):
        """Whether the sample worker answers an MQTT client."""
        argv = ["-p", str(self.ports["MQTTD_PORT"]), "-V", "5", "-q", "1", "-t", "agents/calculator/mcp", "-e", "try/answer", "-W", "10", "-m", CALCULATOR]
        return '"42"' in run("mosquitto_rr", *argv, check=False)

    def all_healthy(self, service, count):
        def condition():
            running = self.containers(service)
            return len(running) == count and all(map(healthy, running))

        self.wait(f"{count} healthy of {service}", condition)

    def published(self):
        """A message came through the balancer."""
        argv = ["mosquitto_pub", "-p", str(self.ports["MQTTD_PORT"]), "-q", "1", "-t", "try/first", "-n"]
        return subprocess.run(argv, capture_output=True, timeout=COMMAND_S).returncode == 0


def program(name, package):
    if shutil.which(name) is None:
        raise SystemExit(f"{name} is needed here: apt-get install {package}")
