"""The chart as helm renders it: Kubernetes takes it, kmwatch takes what is in it, and wrong values are refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from kmwatch.config.load import load
from tests.chart.rendered import CHART, KUBERNETES, VALUES, Rendered, given, helm, refused, render
from tests.chart.tools import CRDS
from tests.support.audit import ROOT
from tests.support.files import TODAY

RULES = ROOT / "deploy" / "prometheus" / "kmwatch.rules.yaml"
DASHBOARDS = ROOT / "deploy" / "grafana"
ENVIRONMENT = {"KAFKA_PASSWORD": "x" * 20, "HEC_TOKEN": "x" * 36}


@pytest.fixture(scope="module", params=list(VALUES))
def release(request: pytest.FixtureRequest) -> Rendered:
    return render(VALUES[str(request.param)])


@pytest.fixture(scope="module")
def everything() -> Rendered:
    return render(VALUES["everything"])


@pytest.fixture(scope="module")
def pair() -> Rendered:
    return render(VALUES["pair"])


# ------------------------------------------------------------------------------------------- it is well formed


@pytest.mark.parametrize("values", list(VALUES.values()), ids=list(VALUES))
def test_helm_has_no_complaint(values: Path | None) -> None:
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), *given(values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_kubernetes_takes_every_object(release: Rendered) -> None:
    known = [found for found in release.objects if not found["apiVersion"].startswith("monitoring.coreos.com/")]
    assert len(known) >= 3
    for found in known:
        kubernetes_validate.validate(found, KUBERNETES[:4], strict=True)


def test_the_operator_takes_what_is_for_it(everything: Rendered) -> None:
    """By the schemas of its own custom resources, and none of them lets an unknown key pass."""
    for kind, plural in (("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules")):
        crd = yaml.safe_load((CRDS / f"monitoring.coreos.com_{plural}.yaml").read_text(encoding="utf-8"))
        (schema,) = [one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == "v1"]
        closed = Draft202012Validator({"allOf": [_closed(schema["properties"]["spec"])]})
        assert [error.message for error in closed.iter_errors(everything.one(kind)["spec"])] == []


def _closed(schema: object) -> object:
    """The schema with no room for unknown keys, as the API server prunes them."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    found = {key: _closed(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        found["additionalProperties"] = False
    return found


# ----------------------------------------------------------------------------- kmwatch takes what it is told


def test_the_configuration_is_one_that_kmwatch_takes(release: Rendered, tmp_path: Path) -> None:
    data = release.one("ConfigMap")["data"]
    data.setdefault("callers.yaml", "callers: {}\nsecrets: {}\nallow: []\n")
    for name, text in data.items():
        here = text.replace("/run/", f"{tmp_path}/run/")
        (tmp_path / name).write_text(here, encoding="utf-8")
        for path in re.findall(rf"{tmp_path}/run/[\w./-]+", here):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text("x" * 20, encoding="utf-8")
    loaded = load(tmp_path / "kmwatch.yaml", ENVIRONMENT, today=TODAY)
    assert loaded.settings.http.listen == "0.0.0.0:9464"


def test_every_secret_that_the_configuration_names_is_mounted(everything: Rendered, pair: Rendered) -> None:
    for release in (everything, pair):
        named = set(re.findall(r"/run/[\w./-]+", release.one("ConfigMap")["data"]["kmwatch.yaml"]))
        mounts = {mount["name"]: mount["mountPath"] for mount in release.container["volumeMounts"]}
        there = set()
        for volume in release.pod["spec"]["volumes"]:
            if volume["name"] == "secrets":
                items = [item for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
                there |= {f"{mounts['secrets']}/{item['path']}" for item in items}
            elif "secret" in volume:
                there.add(f"{mounts[volume['name']]}/ca.crt")
        assert named == there
        assert named


def test_another_configuration_makes_other_pods() -> None:
    sums = {
        render(None, *sets).pod["metadata"]["annotations"]["checksum/config"]
        for sets in ([], ["config.learning=7d"], ["callers.decoys[0].id=x"])
    }
    assert len(sums) == 3


def test_a_value_that_is_taken_away_is_as_one_that_is_empty() -> None:
    """Helm removes what is null, defaults too."""
    keys = ["image.tag", "image.digest", "http.tlsSecret", "http.tokenSecret", "networkPolicy.egress", "extraEnv"]
    keys += ["store.postgres", "existingCallers", "serviceAccount.name", "affinity", "credentials", "secretFiles"]
    assert render(None, *(f"{key}=null" for key in keys)) == render(None)
    assert render(VALUES["pair"], "store.sqlite=null") == render(VALUES["pair"])


# -------------------------------------------------------------------------------------------------- it is safe


def test_pods_meet_the_standard_restricted_with_a_read_only_root(release: Rendered) -> None:
    """Kubernetes' Pod Security Standards, profile restricted, control by control."""
    spec, container = release.pod["spec"], release.container
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    kinds = {key for volume in spec["volumes"] for key in volume.keys() - {"name"}}
    assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert "hostPort" not in container["ports"][0]


def test_nobody_may_come_in_unless_named(everything: Rendered) -> None:
    alone = render(None).one("NetworkPolicy")["spec"]
    assert (alone["policyTypes"], alone["ingress"]) == (["Ingress"], [])
    named = everything.one("NetworkPolicy")["spec"]
    assert named["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"] for rule in named["ingress"]] == [[{"port": "http", "protocol": "TCP"}]]
    assert {port["port"] for port in named["egress"][0]["ports"]} == {53}
    assert len(named["egress"]) == 2


def test_no_object_holds_a_secret(release: Rendered) -> None:
    assert "Secret" not in release.kinds
    assert not any(
        "value" in variable and "PASSWORD" in variable["name"] for variable in release.container.get("env", [])
    )


# ------------------------------------------------------------------------------------- one instance, and two


def test_one_instance_keeps_its_state_on_a_volume_of_its_own() -> None:
    one = render(None)
    spec = one.one("StatefulSet")["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert {"name": "state", "mountPath": "/var/lib/kmwatch"} in one.container["volumeMounts"]
    assert not one.kinds & {"Deployment", "PodDisruptionBudget"}
    assert one.container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_claim_of_yours_takes_the_place_of_that_volume() -> None:
    found = render(VALUES["existing"])
    assert "volumeClaimTemplates" not in found.one("StatefulSet")["spec"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "kmwatch-state"}} in found.pod["spec"]["volumes"]
    assert not found.kinds & {"ServiceAccount", "NetworkPolicy"}


def test_two_instances_run_on_two_nodes_and_never_leave_together(pair: Rendered) -> None:
    assert pair.one("Deployment")["spec"]["replicas"] == 2
    (rule,) = pair.pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    labels = pair.pod["metadata"]["labels"]
    assert rule["labelSelector"]["matchLabels"].items() <= labels.items()
    budget = pair.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert pair.container["readinessProbe"]["httpGet"]["path"] == "/readyz?standby=ready"
    assert "state" not in {mount["name"] for mount in pair.container["volumeMounts"]}
    assert "StatefulSet" not in pair.kinds


def test_every_selector_finds_the_pods(release: Rendered) -> None:
    labels = release.pod["metadata"]["labels"]
    selectors = [release.one("Service")["spec"]["selector"]]
    selectors += [o["spec"]["podSelector"]["matchLabels"] for o in release.objects if o["kind"] == "NetworkPolicy"]
    assert all(selector.items() <= labels.items() for selector in selectors)


# -------------------------------------------------------------------------------------------------- monitoring


def test_the_probes_speak_tls_where_kmwatch_does(everything: Rendered) -> None:
    for release, scheme in ((everything, "HTTPS"), (render(None), "HTTP")):
        probes = [release.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
        assert {probe["scheme"] for probe in probes} == {scheme}


def test_prometheus_shows_the_token_and_trusts_the_certificate(everything: Rendered) -> None:
    (endpoint,) = everything.one("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "kmwatch-http", "key": "token"}
    assert endpoint["scheme"] == "https"
    assert endpoint["tlsConfig"]["ca"]["secret"]["name"] == "kmwatch-tls"
    selector = everything.one("ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= everything.one("Service")["metadata"]["labels"].items()


def test_the_rules_are_those_of_prometheus_with_the_runbooks_where_they_are_published(everything: Rendered) -> None:
    shipped = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    assert render(VALUES["existing"]).one("PrometheusRule")["spec"] == shipped
    published = yaml.safe_load(
        RULES.read_text(encoding="utf-8").replace("docs/runbooks/", "https://docs.example.net/kmwatch/runbooks/")
    )
    assert everything.one("PrometheusRule")["spec"] == published


def test_the_dashboards_are_those_of_grafana(everything: Rendered) -> None:
    data = everything.one("ConfigMap", "-dashboards")["data"]
    assert {name: text.strip() for name, text in data.items()} == {
        path.name: path.read_text(encoding="utf-8").strip() for path in DASHBOARDS.glob("*.json")
    }
    assert sum(map(len, data.values())) < 900_000  # a ConfigMap holds a mebibyte


# ------------------------------------------------------------------------------------------- what is refused

REFUSED = {
    "a key there is not": (["imagee.tag=1"], "'imagee' not allowed"),
    "a floating tag": (["image.tag=latest"], "latest is another image tomorrow"),
    "a store of one's own": (["config.store.sqlite.path=/x"], "use store.sqlite or store.postgres"),
    "http of one's own": (["config.http.listen=0.0.0.0:1"], "use http.port, http.tokenSecret and http.tlsSecret"),
    "a map elsewhere": (["config.callers=x.yaml"], "use callers or existingCallers"),
    "no source": (["config.sources=null"], "missing property 'sources'"),
    "a password in the URL": (["store.postgres.url=postgresql://kmwatch:hunter2@db/kmwatch"], "passwordSecret"),
    "no URL": (["store.postgres.lease=6s"], "missing property 'url'"),
    "half a Secret": (["http.tokenSecret.name=kmwatch-http"], "missing property 'key'"),
    "a lone replica": (["store.postgres.url=postgresql://db/kmwatch", "replicas=1"], "minimum: got 1, want 2"),
    "a volume for many nodes": (["store.sqlite.accessModes[0]=ReadWriteMany"], "'ReadWriteOnce', 'ReadWriteOncePod'"),
    "a path of the host": (["extraVolumes[0].name=x", "extraVolumes[0].hostPath.path=/"], "/extraVolumes/0"),
    "a privileged port": (["http.port=443"], "minimum: got 443, want 1,024"),
}


@pytest.mark.parametrize(("sets", "message"), REFUSED.values(), ids=REFUSED)
def test_values_that_cannot_be_are_refused_with_what_is_wrong(sets: list[str], message: str) -> None:
    said = refused(*sets)
    assert message in said
    assert "hunter2" not in said


NOTES = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: watch-kmwatch-notes}
data:
  notes: |
    {{- tpl (.Files.Get "notes") . | nindent 4 }}
"""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("default", ["one instance", "statefulset/watch-kmwatch", "will be an alert", "ask for no token"]),
        ("everything", ["one instance", "Authorization: Bearer", "https://127.0.0.1:9464/status"]),
        ("pair", ["2 instances", "deploy/watch-kmwatch", "--ready --standby"]),
        ("existing", ["no NetworkPolicy keeps anybody away"]),
    ],
)
def test_the_notes_say_how_to_look_and_what_is_open(values: str, said: list[str], tmp_path: Path) -> None:
    """Helm shows notes to whoever installs, which takes a cluster: so a copy of the chart has them in an object."""
    copy = shutil.copytree(CHART, tmp_path / "kmwatch")
    (copy / "templates" / "NOTES.txt").rename(copy / "notes")
    (copy / "templates" / "notes.yaml").write_text(NOTES, encoding="utf-8")
    notes = render(VALUES[values], chart=copy).one("ConfigMap", "-notes")["data"]["notes"]
    assert [words for words in said if words not in notes] == []
    assert ("will be an alert" in notes) == (values in ("default", "pair"))
