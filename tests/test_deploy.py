"""What a plant runs the service by is whole, names only what there is and opens no more than it must."""

import asyncio
import configparser
import http.server
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from alloysort_inference.doors.rest.app import create_app
from alloysort_inference.doors.rest.metrics import exposition
from alloysort_inference.doors.serve import Server, listen
from alloysort_inference.doors.service import WARMING, Service
from alloysort_inference.doors.settings import PREFIX, Settings, read_settings
from alloysort_inference.outputs.settings import read_outputs

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts)
COMING = {"tokens", "tls_certificate", "tls_key", "outputs"}  # settings that deploy/ needs and others bring
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/alloysort.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PLANT = (ROOT / "requirements/plant.txt").read_text()
PINNED = re.compile(r"[a-z/-]+:v?\d+\.\d+\.?\d*[a-z0-9.-]*")
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictSUIDSGID": "yes",
    "StateDirectory": "alloysort",
}


def instructions():
    """Each of the Dockerfile as (word, rest), continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line]


def environment_of_image():
    told = " ".join(rest for word, rest in instructions() if word == "ENV")
    return dict(pair.split("=", 1) for pair in told.split())


def lines_of(path):
    """KEY=VALUE lines of an environment file, those that only show included."""
    pairs = re.findall(r"^#?([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE)
    assert pairs
    return pairs


@pytest.fixture(scope="module")
def told():
    """Labels of each sample that a service tells Prometheus, by name."""

    async def ask():
        service = Service(Settings())
        service.tally.status["decided"] = service.tally.outlets["cast"] = service.tally.quality[
            "no_image"
        ] = 1
        service.batcher.counts.batches[1] = 1
        try:
            return exposition(service).decode()
        finally:
            await service.close()

    samples = [one for family in text_string_to_metric_families(asyncio.run(ask())) for one in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def expressions():
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return found + [variable["definition"] for variable in DASHBOARD["templating"]["list"]]


def test_every_file_can_be_read():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if path.suffix in {".yaml", ".yml"}:
            assert isinstance(yaml.safe_load(text), dict), path
        elif path.suffix == ".json":
            assert json.loads(text)["panels"], path
        elif path.suffix == ".toml":
            assert tomllib.loads(text), path


def test_every_variable_is_a_setting():
    named = {word for path in FILES for word in re.findall(rf"\b{PREFIX}([A-Z_]+)", path.read_text())}
    unknown = {name.lower() for name in named} - set(Settings.model_fields)
    assert unknown <= COMING, f"no settings: {sorted(unknown - COMING)}"
    assert COMING & {name.lower() for name in named} == COMING, "deploy/ no longer names one of COMING"


def test_the_example_of_the_environment_names_every_setting():
    named = {key.removeprefix(PREFIX).lower() for key, _ in lines_of(DEPLOY / "alloysort.env")}
    assert named >= set(Settings.model_fields)


def test_the_values_shown_are_allowed():
    for number in range(2):  # some settings are shown twice: the first time, the last time
        pairs = lines_of(DEPLOY / "alloysort.env")
        settings = read_settings(dict(pairs if number else reversed(pairs)))
        assert settings.port == 8000
        assert settings.recipe == "wrought-cast"
    service = COMPOSE["services"]["alloysort"]["environment"]
    assert read_settings(environment_of_image() | service).host == "0.0.0.0"


def test_the_example_of_outputs_is_one(tmp_path):
    text = (DEPLOY / "outputs.toml").read_text()
    outputs = read_outputs(DEPLOY / "outputs.toml")
    assert outputs.sparkplug.host in COMPOSE["services"]
    mosquitto = (DEPLOY / "mosquitto/acl").read_text()
    assert f"user {outputs.sparkplug.user}\n" in mosquitto
    assert f"spBv1.0/{outputs.sparkplug.group}/NBIRTH/{outputs.sparkplug.node}" in mosquitto
    whole = tmp_path / "outputs.toml"
    whole.write_text(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE))
    assert read_outputs(whole).modbus.coils == {"wrought": 0, "cast": 1}


def test_the_dashboard_asks_for_what_the_service_tells(told):
    for asked in expressions():
        names = set(re.findall(r"\balloysort_\w+", asked))
        assert names <= set(told), asked
        labels = {label for by in re.findall(r"\bby \(([^)]+)\)", asked) for label in by.split(", ")}
        assert labels <= {label for name in names for label in told[name]} | {"line"}, asked


def test_the_dashboard_shows_what_a_line_is_watched_by():
    shown = " ".join(expressions())
    for name in (
        "pieces_total",
        "outlet_total",
        "quality_total",
        "novel_total",
        "log_failing",
        "log_lost_total",
    ):
        assert f"alloysort_{name}" in shown
    for quantile in ("0.5", "0.99"):
        assert f"histogram_quantile({quantile}, sum by (le, stage)" in shown


def test_the_dashboard_asks_the_source_that_is_provisioned():
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    asked = [panel["datasource"] for panel in DASHBOARD["panels"]] + [
        target["datasource"] for panel in DASHBOARD["panels"] for target in panel["targets"]
    ]
    assert {(one["type"], one["uid"]) for one in asked} == {(source["type"], source["uid"])}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_dashboards_folder_is_where_compose_puts_it():
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/alloysort.yaml").read_text())[
        "providers"
    ]
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted


def test_the_image_runs_as_nobody_in_particular():
    users = [rest for word, rest in instructions() if word == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}
    last = [word for word, _ in instructions()]
    assert last.index("USER") > max(number for number, word in enumerate(last) if word in {"COPY", "RUN"})


def test_the_image_has_no_torch():
    assert "torch" not in "\n".join(rest for _, rest in instructions())
    assert not re.search(r"^(torch|lightning|onnx|scikit-learn)\b(?!runtime)", PLANT, re.MULTILINE)


def test_what_the_image_installs_is_pinned_by_hash():
    pinned = re.findall(r"^([a-z0-9-]+)==\S+ (?:; .* )?\\\n    --hash=sha256:", PLANT, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z]", PLANT, re.MULTILINE))
    assert {"asyncua", "paho-mqtt", "psycopg", "psycopg-binary", "pymodbus", "onnxruntime"} <= set(pinned)
    assert "--require-hashes --only-binary :all: -r requirements/plant.txt" in DOCKERFILE.replace(
        "\\\n    ", ""
    )


def test_a_plant_runs_what_a_line_was_checked_with():
    versions = [
        set(re.findall(r"^([a-z0-9-]+==\S+)", text, re.MULTILINE))
        for text in ((ROOT / "requirements/line.txt").read_text(), PLANT)
    ]
    assert versions[0] < versions[1]


def test_what_the_image_copies_is_let_through_and_is_there():
    let = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for line in let:
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line
    assert "!deploy/healthcheck.py" in let
    assert "!requirements/plant.txt" in let


def test_images_have_a_tag_that_stays():
    compose = [service["image"] for service in COMPOSE["services"].values()]
    base = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    script = re.findall(r"^MOSQUITTO_IMAGE=(.*)$", (DEPLOY / "secrets.sh").read_text(), re.MULTILINE)
    for image in compose + base + script:
        assert PINNED.fullmatch(image), image
    assert script == [COMPOSE["services"]["mosquitto"]["image"]]
    assert len(set(base)) == 1


def test_only_this_machine_reaches_what_is_published():
    published = {name: one["ports"] for name, one in COMPOSE["services"].items() if "ports" in one}
    assert set(published) == {"alloysort", "mosquitto", "grafana"}
    for port in (port for ports in published.values() for port in ports):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name, service in COMPOSE["services"].items():
        assert service["networks"] == (["inside", "outside"] if name in published else ["inside"])


def test_secrets_are_files_that_the_script_makes():
    script = (DEPLOY / "secrets.sh").read_text()
    used = [secret for service in COMPOSE["services"].values() for secret in service["secrets"]]
    assert sorted(used) == sorted(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret["file"] == f"./secrets/{name}"
        assert re.search(rf"\b{re.escape(name)}\b", script)
    for service in COMPOSE["services"].values():
        for path in re.findall(r"/run/secrets/([\w.-]+)", json.dumps(service)):
            assert path in service["secrets"]


def test_no_password_stands_in_a_file():
    for path in FILES:
        assert not re.search(r"://[^/\s:@]+:[^@\s]+@(?!host)", path.read_text()), path
    for service in COMPOSE["services"].values():
        for key in service.get("environment", {}):
            assert "PASSWORD" not in key or key.endswith("_FILE"), key


def test_services_are_held_tight():
    for name, service in COMPOSE["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
        if name != "postgres":  # begins as root, to own its folder
            assert service["cap_drop"] == ["ALL"], name
    assert COMPOSE["services"]["alloysort"]["read_only"] is True


def test_the_broker_takes_nobody_unknown():
    lines = (DEPLOY / "mosquitto/mosquitto.conf").read_text().splitlines()
    assert "allow_anonymous false" in lines
    assert any(line.startswith("password_file ") for line in lines)
    assert "acl_file /mosquitto/config/acl" in lines


def test_prometheus_shows_a_token_to_the_service():
    (job,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/prometheus-token"}
    assert [target for one in job["static_configs"] for target in one["targets"]] == ["alloysort:8000"]
    assert f'up{{job="{job["job_name"]}"' in expressions()[0]


def test_the_unit_is_hardened_and_reloads():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "alloysort.service")
    service = unit["Service"]
    assert {key: service[key] for key in HARDENING} == HARDENING
    assert service["User"] == "alloysort"
    assert service["ExecStart"].endswith("/bin/alloysort serve")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["Restart"] == "on-failure"
    assert service["EnvironmentFile"] == "-/etc/alloysort/alloysort.env"


def test_its_readme_fits_a_page_and_names_every_file():
    text = (DEPLOY / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    for path in DEPLOY.iterdir():
        if not path.name.startswith(".") and path.suffix not in {".md", ".py", ".dockerignore"}:
            assert path.name in text, path.name
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (DEPLOY / target).exists(), target


@contextmanager
def serving():
    """The service behind a real socket, and its port."""
    app = create_app(Settings())
    with listen("127.0.0.1", 0) as listener:
        server = Server(app, None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started or app.state.service.waiting_for is not None:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield app.state.service, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def check(port, **more):
    plain = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    environment = plain | {"ALLOYSORT_PORT": str(port)} | more
    command = [sys.executable, DEPLOY / "healthcheck.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_health_check_tells_ready_from_warming_and_from_nobody():
    with serving() as (service, port):
        assert check(port).returncode == 0
        service.waiting_for = WARMING
        warming = check(port)
    assert warming.returncode == 1
    assert WARMING in warming.stderr
    assert check(port).returncode == 1


class Ready(http.server.BaseHTTPRequestHandler):
    """Says that it is ready."""

    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_health_check_asks_encrypted_where_the_service_is(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=line-1.plant"
    command = [*make.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            done = check(server.server_address[1], ALLOYSORT_TLS_CERTIFICATE=str(certificate))
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == 0, done.stderr
