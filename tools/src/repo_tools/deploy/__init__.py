"""Deployment without azd: `python -m repo_tools deploy` creates agent versions from the same agent.yaml and azure.yaml,
by the SDK (azure-ai-projects) or by plain REST, and lists, shows, deletes and invokes what is deployed. Images are
built and pushed elsewhere."""
