"""Valid inputs of each parser, from which fuzzing starts: together they use all that the formats offer."""

from __future__ import annotations

import json

_HEX = "0123456789abcdef" * 4
_DIGEST = f"sha256:{_HEX}"
_OCI = "application/vnd.oci.image"


def _descriptor(media_type: str, **fields: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _DIGEST, "size": 700, **fields}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=0).encode()


REFERENCES = tuple(
    text.encode()
    for text in (
        "docker://host.example:5000/a/b:1.2",
        f"docker://host.example/a@{_DIGEST}",
        f"registry:[2001:db8::1]:5000/a_b/c-d:1@{_DIGEST}",
        "ostree-image-signed:docker://host.example/a",
        "ostree-unverified-registry:localhost/a",
        "ostree-unverified-image:oci:/path/to:tag",
        "ostree-remote-image:fedora:docker://host.example/a",
        "ostree-remote-registry:fedora:host.example/a",
        "containers-storage:[overlay@/var/lib/containers/storage+/run:x=y]a:1@" + _HEX,
        "docker-archive:/a.tar:b:1",
        "oci-archive:/a.tar",
        "dir:/a",
    )
)

MANIFESTS = (
    _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json"),
            "layers": [
                _descriptor(f"{_OCI}.layer.v1.tar+gzip"),
                _descriptor(f"{_OCI}.layer.v1.tar+zstd", annotations={"a": "b"}),
                _descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", urls=[]),
            ],
            "annotations": {"org.opencontainers.image.version": "1"},
        }
    ),
    _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.index.v1+json",
            "manifests": [
                _descriptor(f"{_OCI}.manifest.v1+json", platform={"os": "linux", "architecture": "amd64"}),
                _descriptor(
                    "application/vnd.docker.distribution.manifest.v2+json",
                    platform={"os": "linux", "architecture": "arm64", "variant": "v8"},
                    annotations={"io.github.containers.compression.zstd": "true"},
                ),
                _descriptor(f"{_OCI}.manifest.v1+json", annotations={"vnd.docker.reference.type": "attestation"}),
            ],
        }
    ),
    _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-11-22T05:00:00.123456789Z",
            "config": {"Labels": {"containers.bootc": "1", "version": "1"}},
            "rootfs": {"type": "layers", "diff_ids": [_DIGEST, _DIGEST]},
        }
    ),
)

CONFIGURATIONS = (
    b"""
[bootc]
backend = "ostree"
fetcher = "registry"
bootloader = "grub"
parallel = 4
tries = 3
[install]
root-fs-type = "xfs"
block = ["direct", "tpm2-luks"]
kargs = ["console=tty0", "a=\\"b c\\""]
karg-deletes = ["quiet"]
match-architectures = ["x86_64", "aarch64"]
stateroot = "default"
root-mount-spec = "LABEL=root"
[install.filesystem.root]
type = "btrfs"
[install.ostree]
bls-append-except-default = "x"
unknown = 1
[install.bootupd]
skip-boot-uuid = true
[backends.composefs]
[fetchers.registry]
insecure = ["h.example:5000"]
[fetchers.skopeo]
authfile = "/etc/auth.json"
podman-credentials = false
[bootloaders.systemd-boot]
""",
    b'x.y."z" = 2026-11-22T05:00:00Z\nn = [1, 2.5, nan, -inf, 0x1f]\ns = """\n\\u00e4"""\n[[t]]\na = {b = 1}\n',
)

REGISTRIES = (
    b"""
unqualified-search-registries = ["h.example", "docker.io"]
credential-helpers = ["containers-auth.json", "secretservice"]
short-name-mode = "enforcing"
[aliases]
"fedora" = "registry.example/fedora"
"gone" = ""
[[registry]]
prefix = "*.h.example"
location = "mirror.example:5000/path"
insecure = true
blocked = false
[[registry]]
location = "docker.io/library"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.example/a"
insecure = false
[[registry]]
prefix = "h.example/a"
location = "h.example/b"
[[registry.mirror]]
location = "m.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "localhost:5000"
pull-from-mirror = "tag-only"
""",
    b'[registries.search]\nregistries = ["a", "b"]\n[registries.insecure]\nregistries = ["c"]\n[registries.block]\n',
)

POLICIES = (
    _json(
        {
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {
                "docker": {
                    "": [{"type": "reject"}],
                    "h.example/a:1": [
                        {
                            "type": "signedBy",
                            "keyType": "GPGKeys",
                            "keyPath": "/nowhere/key",
                            "signedIdentity": {"type": "matchRepoDigestOrExact"},
                        },
                        {
                            "type": "sigstoreSigned",
                            "keyDatas": ["YQ=="],
                            "rekorPublicKeyPath": "/nowhere/rekor",
                            "signedIdentity": {"type": "remapIdentity", "prefix": "a.b/c", "signedPrefix": "d.e"},
                        },
                    ],
                    "*.example": [
                        {
                            "type": "sigstoreSigned",
                            "fulcio": {"caData": "YQ==", "oidcIssuer": "https://i.example", "subjectEmail": "a@b"},
                            "rekorPublicKeyData": "YQ==",
                            "signedIdentity": {"type": "exactReference", "dockerReference": "h.example/a:1"},
                        }
                    ],
                    "h.example": [
                        {
                            "type": "sigstoreSigned",
                            "pki": {"caRootsPath": "/nowhere/roots", "subjectHostname": "h.example"},
                            "signedIdentity": {"type": "exactRepository", "dockerRepository": "h.example/a"},
                        }
                    ],
                },
                "oci": {"/a/b": [{"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/nowhere/a", "b"]}]},
                "containers-storage": {"[overlay@/var/lib/s]": [{"type": "insecureAcceptAnything"}]},
                "docker-daemon": {"a:b": [{"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}]},
            },
        }
    ),
)

AUTHS = (
    _json(
        {
            "auths": {
                "h.example/a": {"auth": "dXNlcjpwYXNz"},
                "h.example": {"auth": "dXNlcjpwYXNzAA==", "email": "a@b"},
                "https://index.docker.io/v1/": {"identitytoken": "t"},
                "other.example:5000": {},
            },
            "credHelpers": {"third.example": "secretservice"},
            "credsStore": "x",
        }
    ),
)

CHALLENGES = (
    b'Bearer realm="https://a.example/token",service="r",scope="repository:a/b:pull", Basic realm="x"',
    b'Negotiate YWJj==, Digest realm="a\\"b", nonce = n , Bearer',
)
