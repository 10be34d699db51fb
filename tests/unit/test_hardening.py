from supervisor.domain.hardening import build_container_config, model_path
from tests.factories import make_plan
from tests.fakes import IMAGE, fixed_installation

POLICY = fixed_installation().policies.sandbox


def config() -> dict[str, object]:
    return build_container_config(
        make_plan(), POLICY, model_source="/store/abc", cpus=(1, 3), labels={"weos.execution": "exec_1"}
    )


def test_the_container_is_what_the_design_says() -> None:
    body = config()
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert body["Image"] == IMAGE
    assert body["User"] == "65532:65532"
    assert body["Tty"] is False
    assert host["NetworkMode"] == "none"
    assert host["Dns"] == ["127.0.0.1"]
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["IpcMode"] == "none"
    assert host["CgroupnsMode"] == "private"
    assert host["LogConfig"] == {"Type": "none", "Config": {}}
    assert host["Memory"] == host["MemorySwap"] == make_plan().limits.memory_bytes
    assert host["PidsLimit"] == 64
    assert host["CpusetCpus"] == "1,3"
    assert host["OomScoreAdj"] == 500
    assert (host["Init"], host["AutoRemove"], host["RestartPolicy"]) == (False, False, {"Name": "no"})
    assert {item["Name"]: item["Hard"] for item in host["Ulimits"]} == {
        "core": 0,
        "fsize": 0,
        "memlock": 65536,
        "nofile": 64,
    }
    assert "Privileged" not in host
    assert "Devices" not in host


def test_nothing_is_mounted_but_the_model() -> None:
    host = config()["HostConfig"]
    assert isinstance(host, dict)
    (mount,) = host["Mounts"]
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("/store/abc", "/model", True)
    assert "Binds" not in host
    assert "Tmpfs" not in host
    assert model_path(POLICY) == "/model/model.gguf"


def test_the_environment_is_fixed_and_knows_no_secret() -> None:
    assert config()["Env"] == [
        "HOME=/nonexistent",
        "LANG=C.UTF-8",
        "OMP_NUM_THREADS=2",
        "OMP_WAIT_POLICY=passive",
    ]
