"""Owns loading botocore's service models, for the codec that both doors and clients share."""

from __future__ import annotations

from collections.abc import Mapping

from botocore.loaders import Loader


def sesv2_model() -> Mapping[str, object]:
    """Return the SES v2 service model as botocore ships it."""
    model: Mapping[str, object] = Loader().load_service_model("sesv2", "service-2")
    return model


def ses_model() -> Mapping[str, object]:
    """Return the SES v1 service model as botocore ships it."""
    model: Mapping[str, object] = Loader().load_service_model("ses", "service-2")
    return model
