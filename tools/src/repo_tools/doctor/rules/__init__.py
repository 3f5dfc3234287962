"""The rules, by theme. Every module in this folder is loaded: a fork adds its own rules as a new file here.

`Azure/azure-dev` in a reason is the public repository of azd, `Learn` the documentation below
https://learn.microsoft.com/azure/foundry/agents/, `#N` an issue or pull request of Azure/azure-dev.
"""
