"""Tokens of Microsoft Entra ID, as Event Grid sends them with each delivery: checked here, all of it, and offline but
for the issuer's keys.

The keys come from the tenant's OpenID Connect metadata. They are fetched when they are first needed, again after a day,
and when a token names one that is not there yet, which is how Entra rotates; never more than once a minute for that, or
made-up key names would turn this agent against the identity service.
https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import jwt

logger = logging.getLogger(__name__)

_KEYS_ARE_OLD_AFTER = 24 * 3600.0
_BETWEEN_FETCHES = 60.0
_BETWEEN_FAILED_FETCHES = 5.0
_LEEWAY_SECONDS = 60
_FETCH_SECONDS = 5.0


class TokenRefused(Exception):
    """The token is not good. The message says why in one sentence that is safe for anyone to read."""

    def __init__(self, message: str, *, expired: bool = False) -> None:
        super().__init__(message)
        self.expired = expired


class KeysUnavailable(Exception):
    """The issuer's keys could not be fetched, so no token can be checked right now."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """`sender` is the application id (`appid` or `azp`) of who may call: a valid token of anyone else is refused."""

    audiences: tuple[str, ...]
    tenant: str
    sender: str
    metadata_url: str


class TokenCheck:
    """Safe to use from several threads, and blocking while it fetches."""

    def __init__(self, rules: TokenRules, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._rules = rules
        self._transport = transport
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._issuer = ""
        self._fetched_at = self._failed_at = float("-inf")

    def check(self, token: str) -> None:
        """Raises `TokenRefused`, or `KeysUnavailable`."""
        rules = self._rules
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise TokenRefused("The bearer token is not a JSON Web Token.") from None
        key = self._key(str(header.get("kid", "")))
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                # Named here and not taken from the token, which could name `none`, or a public key as an HMAC secret.
                algorithms=["RS256"],
                audience=list(rules.audiences),
                # A token of version 1.0, the default of new applications, has the older issuer and the same keys.
                issuer=[self._issuer, f"https://sts.windows.net/{rules.tenant}/"],
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The bearer token has expired.", expired=True) from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("The bearer token is for another audience.") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("The bearer token is from another issuer.") from None
        except jwt.PyJWTError:
            raise TokenRefused("The bearer token does not verify.") from None
        if claims.get("appid", claims.get("azp")) != rules.sender:
            raise TokenRefused("The bearer token was given to another application than Event Grid.")

    def _key(self, name: str) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._fetched_at
            if age >= _KEYS_ARE_OLD_AFTER or (name not in self._keys and age >= _BETWEEN_FETCHES):
                self._fetch(needed=name not in self._keys)
            if name not in self._keys:
                raise TokenRefused("The bearer token is signed with a key that its issuer does not have.")
            return self._keys[name]

    def _fetch(self, *, needed: bool) -> None:
        """New keys. Raises `KeysUnavailable` only when the old ones do not help."""
        if time.monotonic() - self._failed_at >= _BETWEEN_FAILED_FETCHES:
            try:
                with httpx2.Client(transport=self._transport, timeout=_FETCH_SECONDS) as client:
                    metadata = client.get(self._rules.metadata_url).raise_for_status().json()
                    keys = jwt.PyJWKSet.from_dict(client.get(metadata["jwks_uri"]).raise_for_status().json())
                self._issuer = str(metadata["issuer"])
                self._keys = {key.key_id: key for key in keys.keys if key.key_id and key.public_key_use != "enc"}
                self._fetched_at = time.monotonic()
                return
            except (httpx2.HTTPError, httpx2.InvalidURL, jwt.PyJWTError, ValueError, KeyError, TypeError) as error:
                self._failed_at = time.monotonic()
                logger.error("The keys of %s cannot be fetched: %s", self._rules.metadata_url, error)
        if needed:
            raise KeysUnavailable
