"""Names of the requests to NVIDIA's kernel driver, and what the three large ones carry.

The numbers are those of NVIDIA's published kernel modules (nv-ioctl-numbers.h, nv_escape.h, uvm_ioctl.h).
"""

import struct
from collections.abc import Callable, Sequence

__all__ = ["describe_ioctl", "request_name"]

NVIDIA_MAGIC = 0x46
FRONTEND = {
    0x27: "NV_ESC_RM_ALLOC_MEMORY",
    0x29: "NV_ESC_RM_FREE",
    0x2A: "NV_ESC_RM_CONTROL",
    0x2B: "NV_ESC_RM_ALLOC",
    0x32: "NV_ESC_RM_CONFIG_GET",
    0x34: "NV_ESC_RM_DUP_OBJECT",
    0x35: "NV_ESC_RM_SHARE",
    0x4A: "NV_ESC_RM_VID_HEAP_CONTROL",
    0x4E: "NV_ESC_RM_MAP_MEMORY",
    0x4F: "NV_ESC_RM_UNMAP_MEMORY",
    0x54: "NV_ESC_RM_ALLOC_CONTEXT_DMA2",
    0x57: "NV_ESC_RM_MAP_MEMORY_DMA",
    0x58: "NV_ESC_RM_UNMAP_MEMORY_DMA",
    0x5E: "NV_ESC_RM_UPDATE_DEVICE_MAPPING_INFO",
    200: "NV_ESC_CARD_INFO",
    201: "NV_ESC_REGISTER_FD",
    206: "NV_ESC_ALLOC_OS_EVENT",
    207: "NV_ESC_FREE_OS_EVENT",
    210: "NV_ESC_CHECK_VERSION_STR",
    211: "NV_ESC_IOCTL_XFER_CMD",
    212: "NV_ESC_ATTACH_GPUS_TO_FD",
    214: "NV_ESC_SYS_PARAMS",
    215: "NV_ESC_NUMA_INFO",
    217: "NV_ESC_EXPORT_TO_DMABUF_FD",
    218: "NV_ESC_WAIT_OPEN_COMPLETE",
}
MEMORY_MANAGER = {
    0x30000001: "UVM_INITIALIZE",
    0x30000002: "UVM_DEINITIALIZE",
    23: "UVM_CREATE_RANGE_GROUP",
    24: "UVM_DESTROY_RANGE_GROUP",
    25: "UVM_REGISTER_GPU_VASPACE",
    26: "UVM_UNREGISTER_GPU_VASPACE",
    27: "UVM_REGISTER_CHANNEL",
    28: "UVM_UNREGISTER_CHANNEL",
    29: "UVM_ENABLE_PEER_ACCESS",
    30: "UVM_DISABLE_PEER_ACCESS",
    31: "UVM_SET_RANGE_GROUP",
    33: "UVM_MAP_EXTERNAL_ALLOCATION",
    34: "UVM_FREE",
    37: "UVM_REGISTER_GPU",
    38: "UVM_UNREGISTER_GPU",
    39: "UVM_PAGEABLE_MEM_ACCESS",
    42: "UVM_SET_PREFERRED_LOCATION",
    43: "UVM_UNSET_PREFERRED_LOCATION",
    46: "UVM_SET_ACCESSED_BY",
    47: "UVM_UNSET_ACCESSED_BY",
    51: "UVM_MIGRATE",
    65: "UVM_MAP_DYNAMIC_PARALLELISM_REGION",
    66: "UVM_UNMAP_EXTERNAL",
    68: "UVM_ALLOC_SEMAPHORE_POOL",
    70: "UVM_PAGEABLE_MEM_ACCESS_ON_GPU",
    72: "UVM_VALIDATE_VA_RANGE",
    73: "UVM_CREATE_EXTERNAL_RANGE",
    75: "UVM_MM_INITIALIZE",
}
RM_CONTROL, RM_ALLOC, XFER = 0x2A, 0x2B, 211
# NVOS54_PARAMETERS.cmd and NVOS21_PARAMETERS.hClass: the third and the fourth word.
FOUR_WORDS = struct.Struct("<4I")


def request_name(device: str, request: int) -> str:
    """Return the driver's name of a request, or its number."""
    if device.endswith("nvidia-uvm"):
        return MEMORY_MANAGER.get(request, f"UVM {request}")
    if request >> 8 & 0xFF == NVIDIA_MAGIC:
        return FRONTEND.get(request & 0xFF, f"NV_ESC {request & 0xFF:#x}")
    return f"{request:#x}"


def describe_ioctl(device: str, arguments: Sequence[int], read: Callable[[int], bytes]) -> str:
    """Return what an ioctl asks for: its name, and the command or class that it carries.

    Args:
        device: the path of the device.
        arguments: the call's.
        read: returns that many bytes from where the third argument points.
    """
    request = arguments[1] & 0xFFFFFFFF
    name = request_name(device, request)
    if device.endswith("nvidia-uvm") or request >> 8 & 0xFF != NVIDIA_MAGIC:
        return name
    if request & 0xFF in {RM_CONTROL, RM_ALLOC, XFER}:
        carried = read(FOUR_WORDS.size)
        if len(carried) == FOUR_WORDS.size:
            words = FOUR_WORDS.unpack(carried)
            index = {RM_CONTROL: 2, RM_ALLOC: 3, XFER: 0}[request & 0xFF]
            return f"{name} {words[index]:#x}"
    return name
