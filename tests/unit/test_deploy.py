"""The files of `deploy/`: valid where a schema says so, and the same few rights in each."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from supervisor.setup.images.supervisor_image import TAG
from tests.places import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
CLUSTER = DEPLOY / "kubernetes"
RIGHTS = {"SYS_PTRACE", "DAC_READ_SEARCH", "SYS_NICE", "KILL"}
KUBERNETES_VERSIONS = ("1.30", "1.37")


def read_yaml(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


RESOURCES: list[str] = read_yaml("kustomization.yaml")["resources"]
POD = read_yaml("daemon-set.yaml")["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]
QUADLET = (DEPLOY / "podman" / "weos-engine.container").read_text(encoding="utf-8")
COMPOSED = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["supervisor"]
UNIT = (DEPLOY / "systemd" / "weos-engine.service").read_text(encoding="utf-8")


def settings_of(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def test_the_kustomization_names_every_file() -> None:
    assert sorted(RESOURCES) == sorted({path.name for path in CLUSTER.iterdir()} - {"kustomization.yaml"})


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", RESOURCES)
def test_a_manifest_is_valid_by_the_schema_of_kubernetes(name: str, version: str) -> None:
    kubernetes_validate.validate(read_yaml(name), version, strict=True)


def test_a_wrong_manifest_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(read_yaml("daemon-set.yaml") | {"spec": {}}, KUBERNETES_VERSIONS[0], strict=True)


def test_the_pods_are_those_that_the_daemon_set_selects() -> None:
    spec = read_yaml("daemon-set.yaml")["spec"]
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert POD["serviceAccountName"] == read_yaml("service-account.yaml")["metadata"]["name"]


def test_every_volume_that_is_mounted_is_there() -> None:
    assert {each["name"] for each in CONTAINER["volumeMounts"]} == {each["name"] for each in POD["volumes"]}


def test_a_container_engine_finds_the_models_by_the_paths_of_the_supervisor() -> None:
    places = {each["name"]: each["hostPath"]["path"] for each in POD["volumes"] if "hostPath" in each}
    mounts = {each["name"]: each["mountPath"] for each in CONTAINER["volumeMounts"] if each["name"] in places}
    assert mounts == places
    for source, target in (volume.split(":") for volume in settings_of(QUADLET, "Volume")):
        assert source == target


def test_each_way_has_the_same_four_rights_and_no_other() -> None:
    in_unit = settings_of(UNIT, "CapabilityBoundingSet")
    in_quadlet = settings_of(QUADLET, "AddCapability")
    for rights in (*in_unit, *in_quadlet):
        assert {right.removeprefix("CAP_") for right in rights.split()} == RIGHTS
    assert len(in_unit) == len(in_quadlet) == 1
    assert settings_of(QUADLET, "DropCapability") == ["all"]
    context = CONTAINER["securityContext"]
    assert set(context["capabilities"]["add"]) == RIGHTS
    assert set(COMPOSED["cap_add"]) == RIGHTS
    assert context["capabilities"]["drop"] == COMPOSED["cap_drop"] == ["ALL"]


def test_each_container_is_read_only_and_gains_no_rights() -> None:
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert settings_of(QUADLET, "ReadOnly") == settings_of(QUADLET, "NoNewPrivileges") == ["true"]
    assert COMPOSED["read_only"] is True
    assert COMPOSED["security_opt"] == ["no-new-privileges:true"]
    assert settings_of(UNIT, "NoNewPrivileges") == ["yes"]


def test_each_container_opens_no_port_and_is_of_our_image() -> None:
    assert CONTAINER["args"] == COMPOSED["command"] == ["serve", "--socket-only"]
    assert (COMPOSED["network_mode"], COMPOSED.get("ports")) == ("none", None)
    assert settings_of(QUADLET, "Exec") == ["serve --socket-only"]
    assert settings_of(QUADLET, "Image") == [f"localhost/{TAG}"]
    assert CONTAINER["image"] == TAG.partition(":")[0]


def test_nothing_ends_a_supervisor_that_keeps_a_record_in_memory() -> None:
    assert "livenessProbe" not in CONTAINER
    assert settings_of(QUADLET, "HealthOnFailure") == []
