"""Which role each agent's identity needs, and where. A fork changes this table for its own agents.

Inference through the project and the storage of sessions are what an identity has by itself (Microsoft Learn, Foundry,
"Hosted agent permissions"). A scope is the azd variable that an output of `infra/` sets; where it is empty, the
resource was not created and the role is not needed.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A built-in role of Azure. It is named by `id`, because names change."""

    name: str
    id: str


MONITORING_METRICS_PUBLISHER = Role("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb")
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/monitor"""
KEY_VAULT_SECRETS_USER = Role("Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6")
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security"""
SEARCH_INDEX_DATA_READER = Role("Search Index Data Reader", "1407120a-92aa-4202-b7e9-c0e197c71c8f")
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/ai-machine-learning"""


@dataclass(frozen=True)
class Need:
    """A role at the resource whose id the azd variable `scope` holds, and what fails without it."""

    role: Role
    scope: str
    without: str


EVERY_AGENT = (Need(MONITORING_METRICS_PUBLISHER, "APPLICATIONINSIGHTS_RESOURCE_ID", "its traces are refused"),)
NEEDS: dict[str, tuple[Need, ...]] = {
    "rag-chat": (Need(SEARCH_INDEX_DATA_READER, "AZURE_SEARCH_SERVICE_ID", "it cannot search the index"),),
    "webhook-extractor": (
        Need(KEY_VAULT_SECRETS_USER, "AZURE_KEY_VAULT_ID", "it cannot read the secrets of its sources"),
    ),
}


def needs_of(agent: str) -> tuple[Need, ...]:
    """What the identity of `agent` needs; an agent that is not in the table needs what every agent does."""
    return EVERY_AGENT + NEEDS.get(agent, ())
