"""The EFI system partition: a FAT filesystem that firmware reads, with the boot loader, its entries and kernels."""

from bootc.esp.opening import ESP_MOUNT, open_esp
from bootc.esp.volumes import MountedFatVolume, MtoolsVolume

__all__ = ["ESP_MOUNT", "MountedFatVolume", "MtoolsVolume", "open_esp"]
