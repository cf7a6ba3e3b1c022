"""The knobs of the catalogue: how a registry behaves, and what of an image is not as it should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bootc.manifest import OCI_INDEX
from bootc.testing.hostile.case import Knob
from bootc.testing.hostile.scene import GONE, IDENTITY, PASSWORD, SIGNATURE, USER, Scene
from bootc.testing.registry import Action, Bearer, digest_of, redirects

# ---------------------------------------------------------------- behaviour


def at(what: str, *actions: Action) -> Knob:
    """The first answers to what is asked for are spoiled so, one after the other; those that follow are right."""
    return Knob(lambda scene: scene.disturb(what, *actions), is_late=True)


def always(what: str, *actions: Action) -> Knob:
    """The same, but the last action holds for all answers that follow."""
    return Knob(lambda scene: scene.disturb(what, *actions, is_forever=True), is_late=True)


def at_head(*actions: Action, is_forever: bool = True) -> Knob:
    """Answers to HEAD requests."""
    return Knob(lambda scene: scene.registry.disturb("", *actions, method="HEAD", is_forever=is_forever), is_late=True)


def moved(what: str, target: str, status: int = 307) -> Knob:
    """Always redirected: `{elsewhere}` and `{here}` are the two servers, `{digest}` is the asked blob's."""

    def turn(scene: Scene) -> None:
        address = _at_servers(scene, target)
        scene.disturb(what, redirects(address, status), is_forever=True)

    return Knob(turn, is_late=True)


def private(**bearer: Any) -> Knob:
    """Tokens are asked for, and cost a login; more is said as in Bearer, with servers as in `moved`."""

    def turn(scene: Scene) -> None:
        settings: dict[str, Any] = {"login": (USER, PASSWORD), **bearer}
        if settings.get("realm"):
            settings["realm"] = _at_servers(scene, settings["realm"])
        scene.registry.bearer = Bearer(**settings)

    return Knob(turn)


def token_server_elsewhere(scene: Scene) -> None:
    """The other host gives the tokens that the registry asks for."""
    bearer = scene.registry.bearer
    assert bearer is not None
    scene.elsewhere.bearer = Bearer(login=bearer.login, given=bearer.given)


def with_identity_token(scene: Scene) -> None:
    """There is an identity token instead of a password."""
    scene.log_in(identitytoken=IDENTITY)


def without_login(scene: Scene) -> None:
    """There are no credentials."""
    scene.place.authfile.write_text("{}")


def asks_elsewhere_for_login(scene: Scene) -> None:
    """The other host wants user and password."""
    scene.elsewhere.basic = (USER, PASSWORD)


def plain_login(scene: Scene) -> None:
    """Every request needs user and password."""
    scene.registry.basic = (USER, PASSWORD)


def set_by(turn: Callable[[Scene], None]) -> Knob:
    """A knob from a function."""
    return Knob(turn)


def _at_servers(scene: Scene, text: str) -> str:
    for name, value in (
        ("{elsewhere}", scene.elsewhere.base),
        ("{elsewhere.address}", scene.elsewhere.address),
        ("{here}", scene.registry.base),
        ("{here.address}", scene.registry.address),
        ("{signature}", SIGNATURE),
    ):
        text = text.replace(name, value)
    return text


# ---------------------------------------------------------------- content


def manifest(**keys: Any) -> Knob:
    """Top-level keys of the manifest."""
    return Knob(lambda scene: scene.manifest.update(keys))


def manifest_text(change: Callable[[bytes], bytes]) -> Knob:
    """The manifest's bytes."""
    return Knob(lambda scene: setattr(scene, "change_manifest", change))


def manifest_is(data: bytes) -> Knob:
    """These bytes instead of the manifest."""
    return manifest_text(lambda right: data)


def served_as(media_type: str) -> Knob:
    """The content type of what the tag names."""
    return Knob(lambda scene: setattr(scene, "media_type", media_type))


def by_digest() -> Knob:
    """The image is asked for by its digest."""
    return Knob(lambda scene: setattr(scene, "is_by_digest", True))


def config(**keys: Any) -> Knob:
    """Top-level keys of the config."""
    return Knob(lambda scene: scene.config.update(keys))


def config_text(change: Callable[[bytes], bytes]) -> Knob:
    """The config's bytes; the manifest names the changed ones."""
    return Knob(lambda scene: setattr(scene, "change_config", change))


def config_is(data: bytes) -> Knob:
    """These bytes instead of the config."""
    return config_text(lambda right: data)


def config_named(**keys: Any) -> Knob:
    """What the manifest says of the config."""
    return Knob(lambda scene: scene.config_descriptor.update(keys))


def diff_ids(change: Callable[[list[Any]], list[Any]]) -> Knob:
    """The list of diffIDs in the config."""

    def turn(scene: Scene) -> None:
        scene.config["rootfs"]["diff_ids"] = change(scene.config["rootfs"]["diff_ids"])

    return Knob(turn)


def last_diff_id(value: Any) -> Knob:
    """The last diffID in the config."""
    return diff_ids(lambda ids: [*ids[:-1], value])


def layer_named(**keys: Any) -> Knob:
    """What the manifest says of the first layer."""
    return layers_named(lambda layers: layers[0].update(keys))


def layers_named(change: Callable[[list[dict[str, Any]]], object]) -> Knob:
    """What the manifest says of all layers; the list is changed in place."""
    return Knob(lambda scene: setattr(scene, "change_layers", change))


def layer(blob: bytes, content: str) -> Knob:
    """Another first layer, rightly named; `content` is its diffID."""

    def turn(scene: Scene) -> None:
        scene.blobs[0], scene.contents[0] = blob, content
        scene.config["rootfs"]["diff_ids"][0] = content

    return Knob(turn)


def layer_twice() -> Knob:
    """The first layer once more, on top of all."""

    def turn(scene: Scene) -> None:
        scene.blobs.append(scene.blobs[0])
        scene.contents.append(scene.contents[0])
        scene.config["rootfs"]["diff_ids"].append(scene.contents[0])

    return Knob(turn)


def stored(change: Callable[[bytes], bytes]) -> Knob:
    """The first layer as it is served, under the name of the right one."""

    def turn(scene: Scene) -> None:
        digest = digest_of(scene.blobs[0])
        scene.registry.blobs[digest] = change(scene.blobs[0])

    return Knob(turn, is_late=True)


IndexMaker = Callable[[Scene, dict[str, Any]], bytes]
Entry = Callable[[Scene, dict[str, Any]], dict[str, Any]]
"""makes an entry of an index from the manifest's descriptor"""


def entry(architecture: str = "amd64", *, platform: Mapping[str, Any] | None = None, **keys: Any) -> Entry:
    """The image, said to be for this platform."""
    named = {"os": "linux", "architecture": architecture} if platform is None else dict(platform)

    def make(scene: Scene, image: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in {**image, "platform": named, **keys}.items() if value is not None}

    return make


def other(architecture: str, **keys: Any) -> Entry:
    """Another image, which must not be taken."""

    def make(scene: Scene, image: dict[str, Any]) -> dict[str, Any]:
        data = scene.registry.documents[image["digest"]][1] + b" "
        made = scene.registry.add_document("other", image["mediaType"], data)
        return {**made, "platform": {"os": "linux", "architecture": architecture}, **keys}

    return make


def index(*entries: Entry, **keys: Any) -> Knob:
    """The tag names an index."""

    def make(scene: Scene, image: dict[str, Any]) -> bytes:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [made(scene, image) for made in entries]}
        return json.dumps({key: value for key, value in {**document, **keys}.items() if value is not GONE}).encode()

    return index_by(make)


def index_by(make: IndexMaker) -> Knob:
    """The tag names what this makes from the manifest's descriptor."""
    return Knob(lambda scene: setattr(scene, "index", make))
