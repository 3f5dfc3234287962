"""Webhook secrets from Azure Key Vault, read with the agent's identity at start and again every few minutes.

A secret's name in the vault is its variable's in lower case with hyphens, because a vault takes no underscores:
`github-webhook-secret` for `GITHUB_WEBHOOK_SECRET`. A source whose variable is set is not looked up. A vault that
cannot be read stops the start; later the last secrets stay, and a warning says why. A secret that the vault says is
deleted or disabled is not accepted from the next reading on: so one is revoked.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agent_runtime.settings import SettingsError
from pydantic import SecretStr

from webhook_extractor.settings import SECRETS, WebhookExtractorSettings, check_secret

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.exceptions import HttpResponseError
    from azure.keyvault.secrets import SecretClient

logger = logging.getLogger(__name__)

VARIABLE = "AZURE_KEY_VAULT_ENDPOINT"
_CONNECT_SECONDS = 5
_READ_SECONDS = 5
_RETRIES = 2
_SECONDS = 20
"""For one secret with its retries, waits that the service asks for included."""
_ROLE = (
    "its identity may not read secrets. Give it the role Key Vault Secrets User: azd hooks run postdeploy. "
    "A new role takes some minutes to arrive"
)
_FIREWALL = "its firewall refuses this network. Let the agent's network in, or allow public access"
_SIGN_IN = "the sign-in was refused. Hosted, let the agent have its identity; on a laptop: az login"


def secret_name(variable: str) -> str:
    """What a variable's secret is called in the vault."""
    return variable.lower().replace("_", "-")


class KeyVault:
    """The settings of one agent, with the secrets that its vault holds. Blocking; for one thread at a time."""

    def __init__(
        self,
        settings: WebhookExtractorSettings,
        *,
        credential: "TokenCredential | None" = None,
        transport: Any = None,
    ) -> None:
        self._settings = settings
        self._given = credential
        self._own: Any = None
        self._transport = transport
        self._client: SecretClient | None = None
        self._disabled: frozenset[str] = frozenset()
        variables = [variable for field, variable in SECRETS.items() if getattr(settings, field) is None]
        # The next secret before the one that it replaces: between two requests it may be moved there and deleted, and
        # in this order it is then seen in at least one of both places.
        self._fields = {name: field for variable in variables for name, field in _pair(variable)}

    def read(self) -> WebhookExtractorSettings:
        """The settings with the vault's secrets.

        Raises:
            SettingsError: the vault cannot be read, or holds what no signature can be checked with.
        """
        found: dict[str, str] = {}
        disabled: set[str] = set()
        for name in self._fields:
            try:
                value = self._get(name)
            except _Disabled:
                disabled.add(name)
                continue
            if value is not None:
                found[name] = value
        problems = [problem for name, value in found.items() if (problem := self._problem(name, value))]
        if problems:
            raise SettingsError("\n".join(problems))
        for name in sorted(disabled - self._disabled):
            logger.warning("Key Vault: %s is disabled there, so nothing signed with it is accepted", name)
        self._disabled = frozenset(disabled)
        secrets: dict[str, SecretStr | None] = dict.fromkeys(self._fields.values())
        secrets |= {self._fields[name]: SecretStr(value) for name, value in found.items()}
        return self._settings.model_copy(update=secrets)

    def read_at_start(self) -> WebhookExtractorSettings:
        """As `read`, and a vault without any secret is an error too: here it is a mistake, later a revocation."""
        try:
            read = self.read()
            if all(getattr(read, field) is None for field in self._fields.values()):
                raise SettingsError(self._nothing_there())
        except SettingsError:
            self.close()
            raise
        return read

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._own is not None:
            self._own.close()

    def _get(self, name: str) -> str | None:
        from azure.core.exceptions import (  # noqa: PLC0415  only an agent with a vault pays for the SDK
            AzureError,
            ClientAuthenticationError,
            HttpResponseError,
        )

        try:
            # A value that was written from a file may end with the file's line break.
            return (self._open().get_secret(name).value or "").rstrip("\r\n")
        except ClientAuthenticationError as error:
            problem = f"{_SIGN_IN} ({_one_line(error)})"
        except HttpResponseError as error:
            code, inner = _codes(error)
            if error.status_code == 404 and code == "SecretNotFound":
                return None
            if inner == "SecretDisabled":
                raise _Disabled from None
            if error.status_code == 403:
                problem = _FIREWALL if inner == "ForbiddenByFirewall" else _ROLE
            else:
                problem = f"it answered {error.status_code} {code}. Check the address, or try again later"
        except AzureError as error:
            problem = f"it cannot be reached. Check the address and the network ({_one_line(error)})"
        except ValueError:  # what answers wants a token for another service than Key Vault (the SDK's challenge policy)
            problem = "what answers there is no Key Vault. Correct the address"
        raise SettingsError(f"{VARIABLE}: cannot read {self._settings.key_vault_endpoint}: {problem}.") from None

    def _problem(self, name: str, value: str) -> str:
        try:
            check_secret(self._fields[name], value)
        except ValueError as error:
            return f"{VARIABLE}: {name} there {error}. Write it again: {self._command('set', name)} --file FILE"
        return ""

    def _nothing_there(self) -> str:
        if self._disabled:
            disabled = sorted(self._disabled)
            command = f"{self._command('set-attributes', disabled[0])} --enabled true"
            problem = f"the secrets there are disabled ({', '.join(disabled)}). Enable what is to be used: {command}"
        else:
            names = [name for name in self._fields if not name.endswith("-next")]
            command = f"{self._command('set', names[0])} --file FILE"
            problem = f"no webhook secret is there ({', '.join(names)}). Write one: {command}"
        return f"{VARIABLE}: {problem}. Without a vault, unset {VARIABLE}."

    def _command(self, verb: str, name: str) -> str:
        vault = (urlsplit(self._settings.key_vault_endpoint).hostname or "").partition(".")[0]
        return f"az keyvault secret {verb} --vault-name {vault} --name {name}"

    def _open(self) -> "SecretClient":
        if self._client is None:
            from azure.keyvault.secrets import SecretClient  # noqa: PLC0415

            credential = self._given
            if credential is None:
                from azure.identity import DefaultAzureCredential  # noqa: PLC0415

                credential = self._own = DefaultAzureCredential()
            options = {"transport": self._transport} if self._transport else {}
            self._client = SecretClient(
                self._settings.key_vault_endpoint,
                credential,
                connection_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retry_total=_RETRIES,
                timeout=_SECONDS,
                **options,
            )
        return self._client


class SecretRefresh:
    """Reads the vault again and again, and hands on settings whose secrets have changed.

    In a thread of its own that nobody waits for: a reading that hangs must not hold up the end of the process.
    """

    def __init__(
        self,
        vault: KeyVault,
        settings: WebhookExtractorSettings,
        use: Callable[[WebhookExtractorSettings], None],
    ) -> None:
        """`settings` are those in use; `use` is called in the event loop that `start` is called in."""
        self._vault = vault
        self._settings = settings
        self._use = use
        self._stop = threading.Event()

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, args=(loop,), name="key-vault", daemon=True).start()

    def stop(self) -> None:
        """At once, also while a reading is under way: what it finds is dropped."""
        self._stop.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.wait(self._settings.key_vault_refresh_seconds):
            try:
                read = self._vault.read()
            except SettingsError as error:
                logger.warning("The webhook secrets stay as they were. %s", "; ".join(str(error).splitlines()))
                continue
            except Exception as error:  # noqa: BLE001 - the thread must live: nobody else reads again
                logger.warning("The webhook secrets stay as they were: reading failed with %s", type(error).__name__)
                continue
            changed = [name for name in _BOTH if getattr(read, name) != getattr(self._settings, name)]
            if not changed or self._stop.is_set():
                continue
            self._settings = read
            logger.info("Key Vault has other secrets than before: %s", ", ".join(changed))
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._use, read)
        self._vault.close()


_BOTH = tuple(name for field in SECRETS for name in (field, f"{field}_next"))


class _Disabled(Exception):
    """The secret is there and disabled."""


def open_key_vault(settings: WebhookExtractorSettings) -> KeyVault | None:
    """The vault that the settings name; None without one, and where the environment has a secret for every source."""
    if not settings.key_vault_endpoint or all(getattr(settings, field) is not None for field in SECRETS):
        return None
    return KeyVault(settings)


def _pair(variable: str) -> tuple[tuple[str, str], tuple[str, str]]:
    field = next(field for field, name in SECRETS.items() if name == variable)
    return (secret_name(f"{variable}_NEXT"), f"{field}_next"), (secret_name(variable), field)


def _codes(error: "HttpResponseError") -> tuple[str, str]:
    """`code` and `innererror.code` of an answer in Key Vault's form, each empty where it is not there.
    https://learn.microsoft.com/azure/key-vault/general/rest-error-codes"""
    inner = getattr(error.error, "innererror", None)
    return str(getattr(error.error, "code", None) or ""), str((inner or {}).get("code", ""))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
