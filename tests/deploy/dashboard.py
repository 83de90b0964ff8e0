"""What Prometheus, run with our configuration, says of a cluster: its targets, our rules, and every panel of the Grafana dashboard."""
import json
import math
import time
import urllib.parse
import urllib.request
from pathlib import Path

from engine import say

SCRAPED_S = 90  # a rate needs two scrapes, ten seconds apart
BURIED = 'ALERTS{alertname="MqttdNodesBuried"}'  # for ten minutes after a node has died without a word


def ask(cluster, path, **parameters):
    url = f"http://127.0.0.1:{cluster.ports['MQTTD_PROMETHEUS_PORT']}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def shows(cluster, expression):
    """Whether a panel with it would show something."""
    found = ask(cluster, "query", query=expression)["result"]
    return any(math.isfinite(float(sample["value"][1])) for sample in found)


def panels():
    whole = json.loads(Path("deploy/grafana/dashboards/mqttd.json").read_text())
    return [(panel["title"], target["expr"]) for panel in whole["panels"] for target in panel["targets"]]


def wrong(cluster):
    """Each thing that is not as it should be, after it had time to become so."""
    targets, empty, began = [], panels(), time.monotonic()
    while time.monotonic() - began < SCRAPED_S:
        targets = [(target["scrapeUrl"], target["health"]) for target in ask(cluster, "targets", state="active")["activeTargets"]]
        empty = [(title, expression) for title, expression in empty if not shows(cluster, expression)]
        if not empty and len(targets) == 3 and all(health == "up" for _, health in targets):
            break
        time.sleep(2)
    rules = [rule for group in ask(cluster, "rules")["groups"] for rule in group["rules"]]
    said = [f"the panel {title!r} is empty: {expression}" for title, expression in empty]
    said += [f"the rule {rule['name']}: {rule.get('lastError', rule['health'])}" for rule in rules if rule["health"] != "ok"]
    if sorted(health for _, health in targets) != ["up"] * 3:
        said.append(f"Prometheus should see three nodes, and sees {targets}")
    # A node was killed: that is told.
    if not shows(cluster, BURIED):
        said.append("no alert of the node that was killed")
    if not said:
        told = sorted({rule["name"] for rule in rules if rule.get("alerts")})
        say(f"ok   Prometheus: three targets up, {len(rules)} rules, {len(panels())} expressions of the dashboard with data; alerts by now: {', '.join(told)}")
    return said
