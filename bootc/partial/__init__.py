"""Partial pulls: of a layer in the form zstd:chunked, only what no present image has is fetched.

A layer's table of contents (`table`) is fetched by range and verified; what of it is here (`local`, by the records of
`bootc.state.contents`) is left out, the rest is planned (`plan`, `rule`), fetched (`transfer`) into a sparse file
(`parts`), and put together with what is here to the layer's exact tar (`rebuild`, `split`), whose digest is compared
like that of any other. Whatever fails on the way leads to the whole blob (`joined`, `download`).
"""

from __future__ import annotations

from bootc.partial.download import PartialDownload
from bootc.partial.installed import InstalledContents
from bootc.partial.known import Known, Nothing
from bootc.partial.local import LocalContents, local_contents
from bootc.partial.prediction import LayerPrediction, Method, Prediction, contents_of, predict
from bootc.partial.pulls import PartialPulls
from bootc.partial.rule import Rule

__all__ = [
    "InstalledContents",
    "Known",
    "LayerPrediction",
    "LocalContents",
    "Method",
    "Nothing",
    "PartialDownload",
    "PartialPulls",
    "Prediction",
    "Rule",
    "contents_of",
    "local_contents",
    "predict",
]
