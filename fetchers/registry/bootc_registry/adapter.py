"""The adapter between requests and our own TLS context."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.exceptions import InsecureRequestWarning

from bootc_registry.punctual import POOLS


class ContextAdapter(HTTPAdapter):
    """Connections that trust what `context` says, and nothing that comes with a Python package."""

    def __init__(self, context: ssl.SSLContext | None, connections: int) -> None:
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)
        if context is not None and context.verify_mode == ssl.CERT_NONE:
            warnings.simplefilter("ignore", InsecureRequestWarning)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """As requests does, with the context."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """As requests does, with the context for what is behind the proxy."""
        manager: Any = super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the context as it is: requests would add the authorities of the package certifi."""
        conn.cert_reqs = "CERT_REQUIRED" if verify else "CERT_NONE"
