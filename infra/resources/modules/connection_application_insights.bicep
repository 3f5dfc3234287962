// Makes the platform hand the agents their telemetry's target. A project has at most one such connection.
// The project's identity authenticates; the connection string only says where to send:
// https://learn.microsoft.com/azure/foundry/observability/how-to/trace-ingestion-entra-authentication
param accountName string
param projectName string
param applicationInsightsId string

// The project may be in another subscription.
var parts = split(applicationInsightsId, '/')

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: parts[8]
  scope: resourceGroup(parts[2], parts[4])
}

resource account 'Microsoft.CognitiveServices/accounts@2025-04-01-preview' existing = {
  name: accountName

  resource project 'projects' existing = {
    name: projectName
  }
}

resource connection 'Microsoft.CognitiveServices/accounts/projects/connections@2025-04-01-preview' = {
  parent: account::project
  name: 'application-insights'
  // Resource Manager takes this authType; the published types do not list it.
  properties: any({
    category: 'AppInsights'
    target: insights.id
    authType: 'ProjectManagedIdentity'
    isSharedToAll: true
    metadata: {
      ApiType: 'Azure'
      ResourceId: insights.id
      ApplicationInsightsConnectionString: insights.properties.ConnectionString
    }
  })
}

output name string = connection.name
