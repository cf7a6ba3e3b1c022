"""Partial pulls: of a layer in the form zstd:chunked, only what no present image has is fetched."""

from __future__ import annotations

from bootc.partial.known import Known, Nothing
from bootc.partial.prediction import LayerPrediction, Method, Prediction, predict
from bootc.partial.rule import Rule

__all__ = ["Known", "LayerPrediction", "Method", "Nothing", "Prediction", "Rule", "predict"]
