"""Who signs Event Grid's deliveries in an evaluation: a key of this run, and its OpenID metadata on loopback.

Microsoft Entra ID publishes both the same way, so the agent checks these tokens as it checks real ones.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Self

import jwt
from agent_runtime.testing import serve
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

AUDIENCE = "api://webhook-extractor-evaluation"
TENANT = "evaluation"
ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
SENDER = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
"""Event Grid's own application. https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery"""


class Issuer:
    """Serves its keys while it is open."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._url = ""

    async def __aenter__(self) -> Self:
        self._key = await asyncio.to_thread(rsa.generate_private_key, public_exponent=65537, key_size=2048)
        app = Starlette(routes=[Route("/metadata", self._metadata), Route("/keys", self._keys)])
        self._url = await self._stack.enter_async_context(serve(app))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which an agent trusts this issuer."""
        return {
            "EVENT_GRID_AUDIENCE": AUDIENCE,
            "EVENT_GRID_TENANT_ID": TENANT,
            "EVENT_GRID_SENDER_APP_ID": SENDER,
            "EVENT_GRID_OIDC_METADATA_URL": f"{self._url}/metadata",
        }

    def token(self) -> str:
        claims = {"iss": ISSUER, "aud": AUDIENCE, "azp": SENDER, "exp": int(time.time()) + 600}
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": "evaluation"})

    async def _metadata(self, _: Request) -> JSONResponse:
        return JSONResponse({"issuer": ISSUER, "jwks_uri": f"{self._url}/keys"})

    async def _keys(self, _: Request) -> JSONResponse:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return JSONResponse({"keys": [{**public, "kid": "evaluation", "use": "sig", "alg": "RS256"}]})
