"""The profiles of compose.yaml that put another Redis under the nodes: each is brought up, a message goes through, a primary is lost."""
import subprocess
import sys
import time

from engine import COMMAND_S, Cluster, docker, program, run, say

# Where the nodes look, the primary that is lost, and who has to be healthy before it may be.
PROFILES = {
    "sentinel": ("redis+sentinel://sentinel1,sentinel2,sentinel3/mymaster", "redis", ["redis-replica", "sentinel1", "sentinel2", "sentinel3"]),
    "redis-cluster": ("redis+cluster://shard1,shard2,shard3", "shard2", [f"shard{number}" for number in range(1, 7)]),
}


def retain(cluster, text):
    """Retained at QoS 1, so that it is acknowledged when it is stored; `True` when it was."""
    argv = ["mosquitto_pub", "-p", str(cluster.ports["MQTTD_PORT"]), "-V", "5", "-q", "1", "-r", "-t", "try/profile", "-m", text]
    return subprocess.run(argv, capture_output=True, timeout=COMMAND_S).returncode == 0


def retained(cluster):
    return run("mosquitto_sub", "-p", str(cluster.ports["MQTTD_PORT"]), "-t", "try/profile", "-C", "1", "-W", "20", check=False)


def stored(cluster, text):
    cluster.wait(f"a message that is stored ({text})", lambda: retain(cluster, text))
    if (heard := retained(cluster)) != text:
        raise SystemExit(f"retained was {text!r}, and mosquitto_sub heard {heard!r}")
    say(f"ok   {text}")


def try_out(profile):
    url, primary, healthy = PROFILES[profile]
    with Cluster(profile, MQTTD_STORE_URL=url) as cluster:
        cluster.up()
        cluster.all_healthy("node", 3)
        stored(cluster, f"{profile}: a message goes through")
        cluster.wait("an answer of the MCP worker", cluster.calculates)
        for service in healthy:
            cluster.all_healthy(service, 1)
        docker("kill", "-s", "KILL", *cluster.containers(primary))
        began = time.monotonic()
        stored(cluster, f"{profile}: a message goes through after a primary was lost")
        say(f"     {time.monotonic() - began:.1f} s after it")
        cluster.wait("an answer of the MCP worker", cluster.calculates)
        say(f"ok   {profile}: the MCP worker answers after it too")
        cluster.all_healthy("node", 3)


def main():
    program("mosquitto_rr", "mosquitto-clients")
    for profile in PROFILES:
        try_out(profile)
    return 0


if __name__ == "__main__":
    sys.exit(main())
