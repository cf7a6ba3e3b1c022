"""The status of a system: the Host document (`org.containers.bootc/v1`) and its JSON, YAML and text forms."""

from bootc.status.document import Document, dump_host, host_document, to_json, to_yaml
from bootc.status.model import CachedUpdate, Entry, Explanation, FailedDeployment, Host, ImageStatus, UsrOverlay
from bootc.status.parse import parse_host
from bootc.status.text import failure_text, layer_difference, printable, size_text, status_text, sysroot_text

__all__ = [
    "CachedUpdate",
    "Document",
    "Entry",
    "Explanation",
    "FailedDeployment",
    "Host",
    "ImageStatus",
    "UsrOverlay",
    "dump_host",
    "failure_text",
    "host_document",
    "layer_difference",
    "parse_host",
    "printable",
    "size_text",
    "status_text",
    "sysroot_text",
    "to_json",
    "to_yaml",
]
