// Reads the Foundry project that is already there. API version as in azd's own template for connections (Azure/azure-dev,
// azure.ai.projects, synthesis/templates/modules/connections.bicep).
param accountName string
param projectName string

resource account 'Microsoft.CognitiveServices/accounts@2025-04-01-preview' existing = {
  name: accountName

  resource project 'projects' existing = {
    name: projectName
  }
}

output principalId string = account::project.identity.principalId
