"""What the operator overlay gives Prometheus, Grafana and the autoscaler is what the rest of deploy/ has."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kubernetes.prometheus_rules import OUTPUT, render, rule_files
from invoker.settings import InvokerSettings
from tests.debian import promtool
from tests.deploy.kubernetes.manifests import KUBERNETES, ROOT, Resource, find, of_kind, selects

OPERATOR = "overlays/operator"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
CONFIG_MAP_BYTES = 1024 * 1024
ANNOTATION_BYTES = 256 * 1024
RULE_FILES = rule_files()


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def unfolded(rules: Any) -> Any:
    """Expressions on one line: kustomize adds empty lines to folded ones, which mean nothing to Prometheus."""
    copied = copy.deepcopy(rules)
    for group in copied["groups"]:
        for rule in group["rules"]:
            rule["expr"] = " ".join(rule["expr"].split())
    return copied


def check_rules(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), "check", "rules", path], check=False, capture_output=True, text=True, timeout=30)


def scrape_job() -> Resource:
    """The sidecar's job in Prometheus' own configuration."""
    (job,) = [
        one
        for one in read(ROOT / "deploy/prometheus/prometheus.yml")["scrape_configs"]
        if one["job_name"] == "metrics-sidecar"
    ]
    found: Resource = job
    return found


def test_the_rules_are_made_of_the_rule_files() -> None:
    """The committed file is what `make rules` writes."""
    assert OUTPUT.read_text(encoding="utf-8") == render(RULE_FILES)


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_a_prometheus_rule_is_a_rule_file(file: Path, tmp_path: Path) -> None:
    """Its spec is the rule file, group by group, and promtool takes it."""
    rule = find(OPERATOR, "PrometheusRule", f"invocation-gateway-{file.stem}")
    assert unfolded(rule["spec"]) == unfolded(read(file))
    spec = tmp_path / "rules.yaml"
    spec.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    done = check_rules(spec)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_file_has_its_prometheus_rule() -> None:
    """And there is no other one."""
    names = {rule["metadata"]["name"] for rule in of_kind(OPERATOR, "PrometheusRule")}
    assert names == {f"invocation-gateway-{file.stem}" for file in RULE_FILES}
    assert names


def test_the_service_monitor_scrapes_as_prometheus_does() -> None:
    """The job's name, interval, timeout and limit are those of deploy/prometheus/prometheus.yml."""
    monitor = find(OPERATOR, "ServiceMonitor", "metrics-sidecar")["spec"]
    (service,) = [one for one in of_kind(OPERATOR, "Service") if selects(monitor["selector"]["matchLabels"], one)]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    scraping = read(ROOT / "deploy/prometheus/prometheus.yml")["global"]
    job = scrape_job()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == job["job_name"]
    assert monitor["sampleLimit"] == job["sample_limit"]
    assert endpoint["path"] == job.get("metrics_path", "/metrics")
    assert endpoint["interval"] == job.get("scrape_interval", scraping["scrape_interval"])
    assert endpoint["scrapeTimeout"] == job.get("scrape_timeout", scraping["scrape_timeout"])


def test_a_replica_keeps_its_name_when_its_pod_starts_anew() -> None:
    """The pod of a StatefulSet has the same name again, and its ledger; its address is another one."""
    (endpoint,) = find(OPERATOR, "ServiceMonitor", "metrics-sidecar")["spec"]["endpoints"]
    assert {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"} in endpoint["relabelings"]


def test_each_dashboard_is_a_config_map() -> None:
    """With the JSON of deploy/grafana, the label that Grafana's dashboard sidecar looks for, and within the limits
    of a ConfigMap and of what `kubectl apply` notes of it."""
    maps = [one for one in of_kind(OPERATOR, "ConfigMap") if "grafana_dashboard" in one["metadata"].get("labels", {})]
    assert {one["metadata"]["labels"]["grafana_dashboard"] for one in maps} == {"1"}
    contents = {name: text for one in maps for name, text in one["data"].items()}
    assert contents == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    for one in maps:
        assert len(json.dumps(one).encode()) < min(CONFIG_MAP_BYTES, ANNOTATION_BYTES)


def test_the_autoscaler_reads_what_the_adapter_gives(tmp_path: Path) -> None:
    """One metric, from one expression that Prometheus parses, per pod and below the limit of calls in flight."""
    scaler = find(OPERATOR, "HorizontalPodAutoscaler", "gateway")["spec"]
    (metric,) = scaler["metrics"]
    (rule,) = read(KUBERNETES / OPERATOR / "prometheus-adapter-values.yaml")["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    series = rule["seriesQuery"].partition("{")[0]
    assert re.fullmatch(rule["name"]["matches"], series)
    query = rule["metricsQuery"].replace("<<.Series>>", series)
    query = query.replace("<<.LabelMatchers>>", 'namespace="a",pod=~"b|c"').replace("<<.GroupBy>>", "pod")
    assert query == 'sum by (pod) (model_active_invocations{namespace="a",pod=~"b|c"})'
    rules = {"groups": [{"name": "adapter", "rules": [{"record": "a", "expr": one} for one in (query, series)]}]}
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    done = check_rules(path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(metric["pods"]["target"]["averageValue"]) < InvokerSettings().max_in_flight


def test_the_autoscaler_alone_sets_the_number_of_pods() -> None:
    """What the manifest says would be set again with each apply."""
    workload = find(OPERATOR, "StatefulSet", "gateway")
    scaled = find(OPERATOR, "HorizontalPodAutoscaler", "gateway")["spec"]["scaleTargetRef"]
    assert scaled == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": workload["metadata"]["name"]}
    assert "replicas" not in workload["spec"]
