// Log Analytics and Application Insights, which take telemetry with Entra tokens only. Who sends needs the role
// Monitoring Metrics Publisher: the project's identity gets it here, each agent's from the postdeploy hook.
param location string
param tags object
param resourceToken string
param retentionDays int
param projectPrincipalId string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-${resourceToken}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    features: {
      // Who may read a resource may read its logs, and no more.
      enableLogAccessUsingOnlyResourcePermissions: true
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${resourceToken}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

// Monitoring Metrics Publisher: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/monitor
var roles = 'Microsoft.Authorization/roleDefinitions'
var metricsPublisher = subscriptionResourceId(roles, '3913510d-42f4-4e42-8a64-420c390055eb')

resource projectPublishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, projectPrincipalId, metricsPublisher)
  properties: {
    principalId: projectPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: metricsPublisher
  }
}

output applicationInsightsId string = insights.id
output logAnalyticsId string = workspace.id
