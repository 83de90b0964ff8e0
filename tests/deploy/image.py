"""Builds both images and says what they weigh, how soon a node is ready and what it needs at rest."""
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

from engine import TOLD_EACH_S, docker, say

SIZE_MAX_MB = 60  # what we put on top of the base image
BUILD_S, READY_S = 1400, 30
VERSION = "0.1.0"


def build(target, image):
    """What is committed is sent, and nothing that lies about."""
    began = time.monotonic()
    archive = subprocess.Popen(["git", "archive", "--format=tar", os.environ.get("MQTTD_IMAGE_OF", "HEAD")], stdout=subprocess.PIPE)
    argv = ["docker", "build", "--network", os.environ.get("MQTTD_BUILD_NETWORK", "default"), "-f", "deploy/Dockerfile", "--target", target, "-t", image, "-"]
    engine = subprocess.Popen(argv, stdin=archive.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    bound = threading.Timer(BUILD_S, engine.kill)
    bound.start()
    said, told = [], time.monotonic()
    for line in filter(str.strip, engine.stdout):
        said.append(line)
        if time.monotonic() - told > TOLD_EACH_S:
            told = time.monotonic()
            say(f"     {target} after {told - began:.0f} s: {line.strip()[:120]}")
    bound.cancel()
    if engine.wait() != 0:
        raise SystemExit(f"docker build of {target}, {time.monotonic() - began:.0f} of at most {BUILD_S} s: {''.join(said)[-4000:]}")
    say(f"ok   {image} built in {time.monotonic() - began:.0f} s")


def size(image):
    whole, base = (int(docker("image", "inspect", "-f", "{{.Size}}", name)) for name in (image, "debian:bookworm-slim"))
    added = (whole - base) / 1e6
    say(f"ok   {image}: {added:.1f} MB on top of debian:bookworm-slim ({base / 1e6:.0f} MB here)")
    if added > SIZE_MAX_MB:
        raise SystemExit(f"{image} adds {added:.0f} MB; at most {SIZE_MAX_MB}")


def ready(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (urllib.error.URLError, OSError):
        return False


def at_rest():
    name = f"mqttdtest-{uuid.uuid4().hex[:8]}"
    hardened = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    docker("create", "--name", name, *hardened, "-p", "127.0.0.1::8080", f"mqttd:{VERSION}")
    try:
        began = time.monotonic()
        docker("start", name)
        door = docker("port", name, "8080").splitlines()[0]
        while not ready(f"http://{door}/readyz"):
            if time.monotonic() - began > READY_S:
                raise SystemExit(f"not ready within {READY_S} s: {docker('logs', name)}")
            time.sleep(0.01)
        say(f"ok   ready {time.monotonic() - began:.2f} s after docker start")
        docker("exec", name, "mqttd", "healthcheck")
        pid = docker("inspect", "-f", "{{.State.Pid}}", name)
        with open(f"/proc/{pid}/status") as status:
            resident = next(line.split()[1] for line in status if line.startswith("VmRSS"))
        say(f"ok   {int(resident) / 1024:.1f} MiB resident at rest, as user {docker('exec', name, 'id', '-u')}")
        docker("stop", "-t", "30", name)
        code = docker("inspect", "-f", "{{.State.ExitCode}}", name)
        if code != "0":
            raise SystemExit(f"SIGTERM: exit code {code}")
    finally:
        docker("rm", "-f", name)


def main():
    build("node", f"mqttd:{VERSION}")
    build("worker", f"mqttd-worker:{VERSION}")
    size(f"mqttd:{VERSION}")
    size(f"mqttd-worker:{VERSION}")
    at_rest()
    return 0


if __name__ == "__main__":
    sys.exit(main())
