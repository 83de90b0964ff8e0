"""Reads both texts of /metrics with Prometheus's own parsers."""
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

for accept, parse in (("text/plain", prometheus), ("application/openmetrics-text; version=1.0.0", open_metrics)):
    request = urllib.request.Request(sys.argv[1] + "/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        families = list(parse(answer.read().decode()))
    kinds = {family.name: family.type for family in families}
    assert len(families) > 30, len(families)
    assert all(family.documentation for family in families), "a metric without help"
    assert kinds["mqttd_connections"] == "gauge" and kinds["mqttd_commit_seconds"] == "histogram", kinds
    assert kinds["mqttd_publishes_received"] == "counter", kinds
    print(accept, len(families))
