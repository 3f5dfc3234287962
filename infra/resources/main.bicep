// What the agents use beside the Foundry project: their telemetry, the vault for webhook secrets, and a search service.
// A layer of azure.yaml that runs after azd's own Foundry layer and has a resource group of its own, because azd gives each
// layer one and `azd down` deletes it whole. Each switch is an azd variable of main.parameters.json; docs/deploy.md lists them.
targetScope = 'subscription'

@description('Name of the azd environment. Resources are named and tagged by it.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Region of everything here.')
@minLength(1)
param location string

@description('Resource id of the Foundry project, an output of the Foundry layer.')
@minLength(1)
param foundryProjectId string

@description('Object id of who runs azd. Empty: nobody is given a role.')
param principalId string = ''

@description('What principalId is.')
@allowed(['User', 'ServicePrincipal', 'Group'])
param principalType string = 'User'

@description('Log Analytics, Application Insights, its connection to the project, and the workbook.')
param enableMonitoring bool = true

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Alerts about failures and latency. They need monitoring.')
param enableAlerts bool = false

@description('Who is mailed when an alert fires. Empty: alerts show in the portal only.')
param alertEmail string = ''

@description('Percent of an agent\'s requests in 15 minutes that may fail with a 5xx.')
@minValue(0)
@maxValue(100)
param alertFailurePercent int = 5

@description('Milliseconds below which 95 of 100 requests of an agent shall stay in 15 minutes.')
@minValue(1)
param alertLatencyMilliseconds int = 30000

@description('A Key Vault for the secrets of webhook sources.')
param enableKeyVault bool = false

@description('Takes a deleted vault of the same name back, which purge protection keeps for 7 days.')
param recoverKeyVault bool = false

@description('An Azure AI Search service and its connection to the project.')
param enableSearch bool = false

@description('Pricing tier of the search service.')
@allowed(['basic', 'standard', 'standard2', 'standard3'])
param searchSku string = 'basic'

@description('Resource id of an Application Insights of your own, where enableMonitoring is off.')
param ownApplicationInsightsId string = ''

@description('Resource id of a Key Vault of your own, where enableKeyVault is off.')
param ownKeyVaultId string = ''

@description('Resource id of a search service of your own, where enableSearch is off.')
param ownSearchServiceId string = ''

var resourceToken = uniqueString(subscription().id, environmentName, location)
var tags = { 'azd-env-name': environmentName }

// /subscriptions/<1>/resourceGroups/<2>/providers/Microsoft.CognitiveServices/accounts/<3>/projects/<4>
var projectParts = split(foundryProjectId, '/')
var foundrySubscription = projectParts[2]
var foundryGroup = projectParts[4]
var accountName = projectParts[8]
var projectName = projectParts[10]

resource group 'Microsoft.Resources/resourceGroups@2021-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

// Only the project's identity is read here; the Foundry layer made the project.
module project 'modules/foundry_project.bicep' = {
  name: 'foundry-project'
  scope: resourceGroup(foundrySubscription, foundryGroup)
  params: {
    accountName: accountName
    projectName: projectName
  }
}

module monitoring 'modules/monitoring.bicep' = if (enableMonitoring) {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: tags
    resourceToken: resourceToken
    retentionDays: logRetentionDays
    projectPrincipalId: project.outputs.principalId
  }
}

module telemetryConnection 'modules/connection_application_insights.bicep' = if (enableMonitoring) {
  name: 'connection-application-insights'
  scope: resourceGroup(foundrySubscription, foundryGroup)
  params: {
    accountName: accountName
    projectName: projectName
    applicationInsightsId: monitoring!.outputs.applicationInsightsId
  }
}

module workbook 'modules/workbook.bicep' = if (enableMonitoring) {
  name: 'workbook'
  scope: group
  params: {
    location: location
    tags: tags
    applicationInsightsId: monitoring!.outputs.applicationInsightsId
  }
}

module alerts 'modules/alerts.bicep' = if (enableMonitoring && enableAlerts) {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    resourceToken: resourceToken
    applicationInsightsId: monitoring!.outputs.applicationInsightsId
    email: alertEmail
    failurePercent: alertFailurePercent
    latencyMilliseconds: alertLatencyMilliseconds
  }
}

module keyVault 'modules/key_vault.bicep' = if (enableKeyVault) {
  name: 'key-vault'
  scope: group
  params: {
    location: location
    tags: tags
    resourceToken: resourceToken
    recover: recoverKeyVault
    principalId: principalId
    principalType: principalType
    logAnalyticsId: enableMonitoring ? monitoring!.outputs.logAnalyticsId : ''
  }
}

module search 'modules/search.bicep' = if (enableSearch) {
  name: 'search'
  scope: group
  params: {
    location: location
    tags: tags
    resourceToken: resourceToken
    sku: searchSku
    principalId: principalId
    principalType: principalType
    projectPrincipalId: project.outputs.principalId
  }
}

// Foundry refuses two writes below one account at a time, so this one waits for the other connection.
module searchConnection 'modules/connection_search.bicep' = if (enableSearch) {
  name: 'connection-search'
  scope: resourceGroup(foundrySubscription, foundryGroup)
  params: {
    accountName: accountName
    projectName: projectName
    searchId: search!.outputs.id
  }
  dependsOn: [telemetryConnection]
}

// A vault of one's own is named by its id alone.
var ownKeyVaultName = last(split(ownKeyVaultId, '/'))
var ownKeyVaultEndpoint = empty(ownKeyVaultId) ? '' : 'https://${ownKeyVaultName}${environment().suffixes.keyvaultDns}/'

// What the postdeploy hook grants roles on. Where a switch is off, what the variable held stays, which is nothing by default.
output APPLICATIONINSIGHTS_RESOURCE_ID string = enableMonitoring ? monitoring!.outputs.applicationInsightsId : ownApplicationInsightsId
output AZURE_KEY_VAULT_ID string = enableKeyVault ? keyVault!.outputs.id : ownKeyVaultId
output AZURE_SEARCH_SERVICE_ID string = enableSearch ? search!.outputs.id : ownSearchServiceId
// Where webhook-extractor reads its secrets: azure.yaml hands it on.
output AZURE_KEY_VAULT_ENDPOINT string = enableKeyVault ? keyVault!.outputs.endpoint : ownKeyVaultEndpoint
// For the steps that docs/deploy.md gives after a switch was turned on.
output AZURE_KEY_VAULT_NAME string = enableKeyVault ? keyVault!.outputs.name : ''
output AZURE_SEARCH_ENDPOINT string = enableSearch ? search!.outputs.endpoint : ''
