#!/usr/bin/env python3
"""Holds the chart and the manifests of deploy/ against Helm, the schemas of Kubernetes, each other and the daemon.

    tests/deploy/check.py HELM SIDESTREAM      (`make test-deploy` brings both)
"""
import os, pathlib, subprocess, sys, tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/sidestream"
HELM, SIDESTREAM = (os.path.abspath(path) for path in sys.argv[1:3])
# What the manifests have to be good for: the oldest that the chart allows, and the newest that there are schemas of.
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]

EVERYTHING = """
autoscaling: {enabled: true}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
networkPolicy: {enabled: true, from: [{namespaceSelector: {}}]}
secret: {name: keys, publishKeys: publish, redisPassword: redis}
service: {type: LoadBalancer, annotations: {a: b}}
internal: {hosts: [push.internal]}
imagePullSecrets: [{name: registry}]
podAnnotations: {a: b}
nodeSelector: {a: b}
tolerations: [{key: a, operator: Exists}]
env: [{name: SIDESTREAM_TELEMETRY_LOG_FORMAT, value: json}]
"""
SIDECAR = "shape: sidecar\napp: {image: 'app:1', stop: 45, container: {args: [serve]}}\n"
GOOD = {
    "defaults": "",
    "sidecar": SIDECAR,
    "everything": EVERYTHING,
    "everything as a sidecar": EVERYTHING + SIDECAR,
    "nothing": "podDisruptionBudget: {enabled: false}\nresources: null\ndrain: {delay: 0}\n",
}
# Values that are refused, and the word that the refusal has to hold.
BAD = {
    "shape: daemonset": "shape",
    "shape: sidecar": "image",
    "shap: sidecar": "shap",
    "drain: {deadline: soon}": "deadline",
    "drain: {margin: 0}": "margin",
    "internal: {port: 99999}": "port",
    "secret: {publishKeys: keys}": "publishKeys",
    "app: {container: {lifecycle: {}}}": "container",
    "service: {type: ExternalName}": "type",
}


def run(*command, fails=False, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    said = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"{command}: {said}"
    return done.stdout if not fails else said


def helm(action, values, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        # Helm built from its sources does not know which Kubernetes it is for.
        return run(HELM, *action, "--values", file.name, "--kube-version", VERSIONS[0], **options)


def rendered(values):
    return helm(["template", "sidestream", CHART, "--namespace", "default"], values)


def by_kind(text):
    objects = [it for it in yaml.safe_load_all(text) if it]
    return {(it["kind"], it["metadata"]["name"]): it for it in objects}


def check_schemas(objects):
    for (kind, name), it in objects.items():
        if kind == "ServiceMonitor":
            # No kind of Kubernetes' own.
            continue
        for version in VERSIONS:
            kubernetes_validate.validate(it, version, strict=True)


def subset(small, large):
    return all(large.get(key) == value for key, value in small.items())


def check_together(objects):
    """What no schema holds: that names, labels, ports and times fit together."""
    deployment = objects["Deployment", "sidestream"]["spec"]
    pod = deployment["template"]
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    containers = spec.get("initContainers", []) + spec["containers"]
    ours = next(it for it in containers if it["name"] == "sidestream")
    ports = {it["name"]: it["containerPort"] for it in ours["ports"]}
    env = {it["name"]: it.get("value") for it in ours["env"]}
    assert subset(deployment["selector"]["matchLabels"], labels)
    public, internal = (objects["Service", name] for name in ["sidestream", "sidestream-internal"])
    for service in [public, internal]:
        assert subset(service["spec"]["selector"], labels)
        assert all(port["targetPort"] in ports for port in service["spec"]["ports"])
    assert internal["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert "sidestream-internal.default.svc" in env["SIDESTREAM_INTERNAL_HOSTS"].split(",")
    assert env["SIDESTREAM_INTERNAL_LISTEN"] == f"0.0.0.0:{ports['internal']}"
    for probe, path in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]:
        assert ours[probe]["httpGet"] == {"path": path, "port": "internal"}
    seconds = {name: int(env[f"SIDESTREAM_DRAIN_{name}"].rstrip("s")) for name in ["DELAY", "WINDOW", "DEADLINE"]}
    needed, sidecar = seconds["DELAY"] + seconds["DEADLINE"], "initContainers" in spec
    assert (ours.get("restartPolicy") == "Always") == sidecar
    if sidecar:
        app = next(it for it in spec["containers"] if it["name"] == "app")
        needed += app.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert spec["terminationGracePeriodSeconds"] >= needed + 5
    security = ours["securityContext"]
    assert security["runAsNonRoot"] and security["runAsUser"] > 0 and security["readOnlyRootFilesystem"]
    assert security["capabilities"] == {"drop": ["ALL"]} and not security["allowPrivilegeEscalation"]
    mounted = {it["name"] for it in ours["volumeMounts"]}
    assert mounted == {it["name"] for it in spec["volumes"]}
    if ("HorizontalPodAutoscaler", "sidestream") in objects:
        assert "replicas" not in deployment
    if ("PodDisruptionBudget", "sidestream") in objects:
        assert subset(objects["PodDisruptionBudget", "sidestream"]["spec"]["selector"]["matchLabels"], labels)
    if ("ServiceMonitor", "sidestream") in objects:
        monitor = objects["ServiceMonitor", "sidestream"]["spec"]
        assert subset(monitor["selector"]["matchLabels"], internal["metadata"]["labels"])
        assert not subset(monitor["selector"]["matchLabels"], public["metadata"]["labels"])
        assert monitor["endpoints"][0]["port"] == internal["spec"]["ports"][0]["name"]
    check_configuration(objects["ConfigMap", "sidestream"]["data"]["sidestream.toml"], env)


def check_configuration(text, env):
    """What the pod would start with, as the daemon reads it."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "sidestream.toml"
        file.write_text(text)
        variables = {name: value for name, value in env.items() if name.startswith("SIDESTREAM_") and value}
        for name, value in variables.items():
            if name.endswith("_FILE"):
                secret = pathlib.Path(folder) / pathlib.Path(value).name
                secret.write_text("0123456789abcdef0123456789abcdef01234567\n")
                variables[name] = str(secret)
        run(SIDESTREAM, "check", "--config", file, env=variables)


def check_compose():
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())
    ours = compose["services"]["sidestream"]
    assert ours["read_only"] and ours["cap_drop"] == ["ALL"]
    assert not any("8081" in port for port in ours["ports"]), "the internal listener is published"
    assert int(ours["stop_grace_period"].rstrip("s")) > 30
    text = ours["environment"]["SIDESTREAM_CONFIG"]
    with tempfile.TemporaryDirectory() as folder:
        key = pathlib.Path(folder) / "publish_key"
        key.write_text("0123456789abcdef0123456789abcdef01234567\n")
        text = text.replace("/run/secrets/publish_key", str(key))
        run(SIDESTREAM, "check", env={"SIDESTREAM_CONFIG": text})


def main():
    write = "--write" in sys.argv
    for name, values in GOOD.items():
        helm(["lint", "--strict", CHART], values)
        objects = by_kind(rendered(values))
        check_schemas(objects)
        check_together(objects)
        print(f"{name}: {', '.join(sorted({kind for kind, _ in objects}))}")
    for values, word in BAD.items():
        said = helm(["template", "sidestream", CHART], values, fails=True)
        assert word in said, f"{values}: {said}"
    print(f"{len(BAD)} kinds of bad values are refused")
    for values in sorted((ROOT / "deploy/kubernetes").glob("*.values.yaml")):
        manifest = values.with_name(values.name.replace(".values", ""))
        head = f"# Made of deploy/helm/sidestream with {values.name}; `make deploy-manifests` makes it anew.\n"
        text = head + rendered(values.read_text())
        if write:
            manifest.write_text(text)
        assert manifest.read_text() == text, f"{manifest.name} is not what the chart makes; `make deploy-manifests` does"
        check_schemas(by_kind(text))
        print(f"{manifest.name}: as the chart makes it, sound for Kubernetes {' and '.join(VERSIONS)}")
    check_compose()
    print("compose.yaml: its configuration is sound")


main()
