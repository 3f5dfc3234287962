"""The postdeploy hook: grants each agent's identity the roles that its agent needs, and no other.

An agent's identity exists only after its first deployment, so its roles cannot be in the Bicep. `needs` says who needs
what, `grant` asks Azure Resource Manager, `__main__` is what azd runs. The standard library is enough for all of it:
who deploys has azd and a Python, and not necessarily `.venv`.
"""
