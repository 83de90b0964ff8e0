"""The files under deploy/ and compose.yaml: what their own tools say of them, and the rules that no tool knows."""
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import helm_python as helm
import yaml

BIN = Path(sys.executable).parent
KUBERNETES = ["1.30", "1.34", "1.37"]
OVERLAYS = ["base", "overlays/development", "overlays/production"]
CHART = Path("deploy/helm/mqttd")
# Their schemas are not Kubernetes' own.
FOREIGN = {"ServiceMonitor", "PrometheusRule", "Certificate", "TCPRoute", "TLSRoute", "UDPRoute"}
READY_S = 20
# MQTTD_REQUIRE_… and their like are for the tests; a node refuses a key that it does not know.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MQTTD_")}
failures = []


def check(good, what):
    if not good:
        failures.append(what)
        print(f"FAIL {what}", flush=True)


def tool(name, *argv, stdin=None):
    done = subprocess.run([BIN / argv[0], *argv[1:]], capture_output=True, text=True, input=stdin)
    check(done.returncode == 0, f"{name}: {(done.stdout + done.stderr).strip()[-1500:]}")
    return done.stdout


def compose_1():
    """Debian's Compose, where it is installed."""
    place = "/usr/bin/docker-compose"
    said = subprocess.run([place, "version", "--short"], capture_output=True, text=True).stdout if Path(place).exists() else ""
    return place if said.startswith("1.") else None


def compose():
    tool("compose.yaml by Compose 2", "docker-compose", "-f", "compose.yaml", "config", "-q")
    tool("compose with TLS", "docker-compose", "-f", "compose.yaml", "-f", "deploy/compose/tls.yaml", "config", "-q")
    if old := compose_1():
        for files in [["compose.yaml"], ["compose.yaml", "deploy/compose/tls.yaml"]]:
            tool(f"{files[-1]} by Compose 1.29", old, *(word for file in files for word in ("-f", file)), "config", "-q")
    tool("compose.yaml by its schema", "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    for file in ["deploy/compose/mqttd.toml", "deploy/compose/haproxy.cfg", "deploy/compose/redis-password"]:
        check(Path(file).exists(), f"{file} is mounted and not there")
    spec = yaml.safe_load(Path("compose.yaml").read_text())
    check("version" not in spec and "name" not in spec, "compose.yaml: Compose 1.29 or 2 refuses version or name")
    for name, service in spec["services"].items():
        check(service.get("restart"), f"compose.yaml {name}: no restart policy")
        check("logging" in service, f"compose.yaml {name}: logs without a bound")
        check(service.get("deploy", {}).get("resources", {}).get("limits"), f"compose.yaml {name}: memory without a bound")
    node = spec["services"]["node"]
    check(node["read_only"] and node["cap_drop"] == ["ALL"], "compose.yaml node: not hardened")
    drain = (Path("deploy/compose/mqttd.toml").read_text().split("[drain]")[1]).split()
    seconds = sum(int(word) for word in drain if word.isdigit())
    check(int(node["stop_grace_period"].rstrip("s")) > seconds, "compose.yaml node: killed before it has drained")


def image():
    tool("Dockerfile", "hadolint", "--ignore", "DL3008", "deploy/Dockerfile")
    text = Path("deploy/Dockerfile").read_text()
    for word in ["--mount", "--chmod", "# syntax", "<<"]:
        check(word not in text, f"Dockerfile: the classic builder knows no {word}")


def yaml_files():
    rules = "{extends: default, rules: {line-length: {max: 180}, document-start: disable, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}}}"
    files = [str(path) for path in Path("deploy").rglob("*.yaml") if CHART / "templates" not in path.parents]
    tool("yamllint", "yamllint", "-s", "-d", rules, "compose.yaml", *files)


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def schemas(name, manifests):
    known = yaml.safe_dump_all([document for document in manifests if document["kind"] not in FOREIGN])
    for version in KUBERNETES:
        done = subprocess.run([BIN / "kubernetes-validate", "--strict", "-k", version, "-"], capture_output=True, text=True, input=known)
        check(done.returncode == 0, f"{name} for Kubernetes {version}: {(done.stdout + done.stderr)[-1500:]}")


def restricted(name, spec):
    """What the Pod Security Standard "restricted" asks, and what we ask beside it."""
    pod = spec.get("securityContext", {})
    check(pod.get("runAsNonRoot") and pod.get("seccompProfile", {}).get("type") == "RuntimeDefault", f"{name}: not restricted")
    check(spec.get("automountServiceAccountToken") is False, f"{name}: a token that nobody needs")
    for container in spec["containers"]:
        where = f"{name}/{container['name']}"
        security = container.get("securityContext", {})
        check(security.get("allowPrivilegeEscalation") is False and security.get("capabilities", {}).get("drop") == ["ALL"], f"{where}: not restricted")
        check(security.get("readOnlyRootFilesystem"), f"{where}: writes to its image")
        check(container["resources"].get("limits", {}).get("memory") and container["resources"].get("requests"), f"{where}: no limits")


def workload(name, document):
    template = document["spec"]["template"]
    labels = template["metadata"]["labels"]
    selector = document["spec"]["selector"]["matchLabels"]
    check(selector.items() <= labels.items(), f"{name}: its selector does not find its own pods")
    restricted(name, template["spec"])
    volumes = {volume["name"] for volume in template["spec"].get("volumes", []) + [{"name": claim["metadata"]["name"]} for claim in document["spec"].get("volumeClaimTemplates", [])]}
    for container in template["spec"]["containers"]:
        ports = {port["name"] for port in container["ports"]}
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
            check(probe in container, f"{name}: no {probe}")
            asked = container.get(probe, {}).get("httpGet") or container.get(probe, {}).get("tcpSocket") or {}
            check(asked.get("port") in ports, f"{name}: {probe} asks a port that is not there")
        check({mount["name"] for mount in container.get("volumeMounts", [])} <= volumes, f"{name}: mounts what is not there")
    if document["kind"] == "Deployment":
        paths = {probe: template["spec"]["containers"][0][probe]["httpGet"]["path"] for probe in ["livenessProbe", "readinessProbe"]}
        check(paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz"}, f"{name}: liveness must not ask for Redis")
    return labels, {(port["name"], port.get("protocol", "TCP")) for container in template["spec"]["containers"] for port in container["ports"]}


def rules(name, manifests):
    """Selectors that find something, ports that exist, names that are there once."""
    names = [(document["kind"], document["metadata"]["name"]) for document in manifests]
    check(len(names) == len(set(names)), f"{name}: a name twice")
    pods = [workload(f"{name} {document['metadata']['name']}", document) for document in manifests if document["kind"] in ("Deployment", "StatefulSet")]
    check(any(kind == "Deployment" for kind, _ in names), f"{name}: no nodes")
    for document in manifests:
        where = f"{name} {document['kind']} {document['metadata']['name']}"
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            found = [ports for labels, ports in pods if spec["selector"].items() <= labels.items()]
            check(found, f"{where}: selects no pod")
            wanted = {(port["targetPort"], port.get("protocol", "TCP")) for port in spec["ports"]}
            check(any(wanted <= ports for ports in found), f"{where}: a port that no container has")
            check(len({port.get("protocol", "TCP") for port in spec["ports"]}) == 1, f"{where}: TCP and UDP behind one address")
        if document["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = (spec.get("selector") or spec.get("podSelector"))["matchLabels"]
            found = [ports for labels, ports in pods if selector.items() <= labels.items()]
            check(found, f"{where}: selects no pod")
            if document["kind"] == "NetworkPolicy":
                wanted = {(port["port"], port.get("protocol", "TCP")) for rule in spec["ingress"] for port in rule["ports"]}
                check(any(wanted <= ports for ports in found), f"{where}: lets in what no container listens for")
                check({(port, protocol) for port, protocol in found[0]} <= wanted, f"{where}: keeps out what the containers listen for")
        if document["kind"] == "HorizontalPodAutoscaler":
            check(("Deployment", spec["scaleTargetRef"]["name"]) in names, f"{where}: scales what is not there")
        if document["kind"] == "Pod":
            restricted(where, spec)


def kubernetes():
    for overlay in OVERLAYS:
        text = tool(f"kustomize {overlay}", "kubectl", "kustomize", f"deploy/kubernetes/{overlay}")
        schemas(f"kustomize {overlay}", documents(text))
        rules(f"kustomize {overlay}", documents(text))


def chart():
    check(json.loads((CHART / "values.schema.json").read_text()), "values.schema.json")
    value_sets = sorted((CHART / "ci").glob("*-values.yaml"))
    check(len(value_sets) >= 6, "six value sets")
    for path in value_sets:
        name = f"helm {path.stem.removesuffix('-values')}"
        values = yaml.safe_load(path.read_text()) or {}
        for version in KUBERNETES:
            said = [message for message in helm.lint(str(CHART), values=values, strict=True, kube_version=version)["messages"] if message["severity"] > 1]
            check(not said, f"{name}: lint for {version}: {said}")
        rendered = helm.Chart.load(str(CHART)).render(values, name="front", namespace="mqtt")
        texts = rendered.values() if isinstance(rendered, dict) else [rendered]
        manifests = [document for text in texts if isinstance(text, str) for document in documents_of(text)]
        schemas(name, manifests)
        rules(name, manifests)
    refused()


def documents_of(text):
    try:
        return [document for document in documents(text) if isinstance(document, dict) and "kind" in document]
    except yaml.YAMLError:
        return []  # NOTES.txt


def refused():
    """What cannot work is refused before anything is installed."""
    for values in [{"replicas": 3}, {"replicas": 1, "listeners": {"tls": {"enabled": True, "port": 8883}}}, {"replicas": "many"}, {"unknown": 1}]:
        try:
            chart = helm.Chart.load(str(CHART))
            chart.validate_schema(values)
            chart.render(values, name="front", namespace="mqtt")
            check(False, f"helm takes {values}")
        except Exception as error:  # whichever class the binding has for it
            print(f"ok   refused {values}: {str(error).strip().splitlines()[-1][:140]}")


def metrics():
    """Alerts and panels ask for metrics that a node has."""
    program = next((path for path in (os.environ.get("MQTTD", ""), "target/release/mqttd", "target/debug/mqttd") if Path(path).is_file()), None)
    rules = yaml.safe_load(Path("deploy/prometheus/rules.yaml").read_text())
    panels = json.loads(Path("deploy/grafana/dashboards/mqttd.json").read_text())["panels"]
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + [target["expr"] for panel in panels for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"\bmqttd_\w+", expression)}
    if program is None:
        print("SKIP metrics: no mqttd built; set MQTTD to one")
        return
    for file in ["deploy/compose/mqttd.toml", "deploy/kubernetes/base/mqttd.toml"]:
        done = subprocess.run([program, "check", "-c", file], env=ENVIRONMENT, capture_output=True, text=True)
        check(done.returncode == 0, f"{file}: {done.stderr.strip()}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        door = f"127.0.0.1:{probe.getsockname()[1]}"
    node = subprocess.Popen([program, "--listen", "tcp://127.0.0.1:0", "--admin", door], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    try:
        ready = [program, "healthcheck", "--url", f"http://{door}/readyz"]
        until = time.monotonic() + READY_S
        while subprocess.run(ready, env=ENVIRONMENT, capture_output=True).returncode != 0:
            if node.poll() is not None or time.monotonic() > until:
                node.kill()
                check(False, f"the node was not ready within {READY_S} s: {node.communicate()[1].strip()}")
                return
        text = urllib.request.urlopen(f"http://{door}/metrics", timeout=READY_S).read().decode()
    finally:
        node.kill()
        node.communicate()
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} | {"mqttd_nodes"}  # in a cluster only
    missing = {name for name in names if name not in known and name.removesuffix("_bucket") not in known}
    check(not missing, f"no node has {', '.join(sorted(missing))}")


def main():
    for part in (compose, image, yaml_files, kubernetes, chart, metrics):
        before = len(failures)
        part()
        print(f"{'ok  ' if len(failures) == before else 'FAIL'} {part.__name__}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
