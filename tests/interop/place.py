"""A Redis, nodes on it, and other programs of a suite; all of them end with it."""
import os
import shutil
import signal
import socket
import subprocess
import time

LIMIT_S = 20
_started = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, is_so):
    deadline = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {LIMIT_S} s: {what}")
        time.sleep(0.05)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def start(argv):
    env = {name: value for name, value in os.environ.items() if not name.startswith("MQTTD_")}
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _started.append(process)
    return process


def redis_server(folder):
    """Its address."""
    port = free_port()
    start(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)])
    until("Redis listens", lambda: listens(port))
    return f"redis://127.0.0.1:{port}"


def node(store, name):
    """Its port."""
    port = free_port()
    start([os.environ["BROKER"], "--listen", f"tcp://127.0.0.1:{port}", "--admin", "off", "--store", store, "--node-id", name])
    until(f"{name} listens", lambda: listens(port))
    return port


def stop_all(folder):
    for process in reversed(_started):
        process.send_signal(signal.SIGKILL)
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
