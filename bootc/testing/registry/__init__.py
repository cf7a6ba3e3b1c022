"""A fake registry on loopback, for tests of fetchers: images from memory, logins, tokens, TLS, answers spoiled.

It speaks the pulling half of the OCI distribution protocol with the standard library alone, and remembers every
request with its headers. `disturb` puts actions in front of the normal answer: for requests that match, in order, each
once, or the last for ever. `knobs` has the actions; any function of a request and its normal answer is one, too.

    with FakeRegistry() as registry:
        registry.add_image("latest", b"a layer")
        registry.disturb("blobs/", cut_after(3), answers(503, Retry_After="1"))
"""

from bootc.testing.registry.certificates import Authority, Certificate, self_signed
from bootc.testing.registry.knobs import (
    answers,
    compressed,
    cut_after,
    drips,
    drips_head,
    endless,
    framed,
    hangs_up,
    headed,
    holds,
    ignores_range,
    normal,
    preceded_by,
    redirects,
    repeated,
    resets,
    shifted_range,
    stops_in_head,
    together,
    unanswered,
    with_body,
    with_headers,
    with_more_headers,
)
from bootc.testing.registry.messages import Action, Framing, Received, Reply, basic, digest_of, json_reply
from bootc.testing.registry.server import CONFIG_TYPE, LAYER_TYPE, REPOSITORY, FakeRegistry, KeyPair
from bootc.testing.registry.tokens import Bearer

__all__ = [
    "CONFIG_TYPE",
    "LAYER_TYPE",
    "REPOSITORY",
    "Action",
    "Authority",
    "Bearer",
    "Certificate",
    "FakeRegistry",
    "Framing",
    "KeyPair",
    "Received",
    "Reply",
    "answers",
    "basic",
    "compressed",
    "cut_after",
    "digest_of",
    "drips",
    "drips_head",
    "endless",
    "framed",
    "hangs_up",
    "headed",
    "holds",
    "ignores_range",
    "json_reply",
    "normal",
    "preceded_by",
    "redirects",
    "repeated",
    "resets",
    "self_signed",
    "shifted_range",
    "stops_in_head",
    "together",
    "unanswered",
    "with_body",
    "with_headers",
    "with_more_headers",
]
