"""Builds both images and says what they weigh, how soon a node is ready and what it needs at rest."""
import os
import subprocess
import sys
import time
import uuid

SIZE_MAX_MB = 60  # what we put on top of the base image
VERSION = "0.1.0"


def docker(*argv, **options):
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"docker {' '.join(argv)}: {(done.stdout + done.stderr)[-4000:]}")
    return done.stdout.strip()


def build(target, image):
    """What is committed is sent, and nothing that lies about."""
    began = time.monotonic()
    archive = subprocess.Popen(["git", "archive", "--format=tar", os.environ.get("MQTTD_IMAGE_OF", "HEAD")], stdout=subprocess.PIPE)
    options = ["--network", os.environ.get("MQTTD_BUILD_NETWORK", "default")]
    docker("build", "-q", *options, "-f", "deploy/Dockerfile", "--target", target, "-t", image, "-", stdin=archive.stdout)
    print(f"ok   {image} built in {time.monotonic() - began:.0f} s", flush=True)


def size(image):
    whole, base = (int(docker("image", "inspect", "-f", "{{.Size}}", name)) for name in (image, "debian:bookworm-slim"))
    added = (whole - base) / 1e6
    print(f"ok   {image}: {added:.1f} MB on top of debian:bookworm-slim ({base / 1e6:.0f} MB here)")
    if added > SIZE_MAX_MB:
        raise SystemExit(f"{image} adds {added:.0f} MB; at most {SIZE_MAX_MB}")


def at_rest():
    name = f"mqttdtest-{uuid.uuid4().hex[:8]}"
    began = time.monotonic()
    docker("run", "-d", "--name", name, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", f"mqttd:{VERSION}")
    try:
        while subprocess.run(["docker", "exec", name, "mqttd", "healthcheck"], capture_output=True).returncode != 0:
            if time.monotonic() - began > 30:
                raise SystemExit(f"not ready: {docker('logs', name)}")
        print(f"ok   ready {time.monotonic() - began:.1f} s after docker run")
        pid = docker("inspect", "-f", "{{.State.Pid}}", name)
        resident = next(line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
        print(f"ok   {int(resident) / 1024:.1f} MiB resident at rest, as user {docker('exec', name, 'id', '-u')}")
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
