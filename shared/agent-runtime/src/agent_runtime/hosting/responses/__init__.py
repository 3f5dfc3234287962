"""What only a Responses host needs. Importing it needs `azure-ai-agentserver-responses`, which an agent that speaks the
protocol has in its image and the others do not."""

from agent_runtime.hosting.responses_rules import check_responses_request

__all__ = ["check_responses_request"]
