// Azure AI Search without keys. Who runs azd may create and fill the index; the project's identity and, from the postdeploy
// hook, the agent that searches may read it. The service's own identity is for a vectorizer: it has no role yet.
param location string
param tags object
param resourceToken string
param sku string
param principalId string
param principalType string
param projectPrincipalId string

resource search 'Microsoft.Search/searchServices@2025-05-01' = {
  name: 'srch-${resourceToken}'
  location: location
  tags: tags
  sku: {
    name: sku
  }
  identity: {
    type: 'SystemAssigned'
  }
  // checkov:skip=CKV_AZURE_208:one replica is enough to try it; two or three cost two or three times as much
  // checkov:skip=CKV_AZURE_209:one replica is enough to try it; two or three cost two or three times as much
  properties: {
    disableLocalAuth: true
    hostingMode: 'Default'
    partitionCount: 1
    replicaCount: 1
    publicNetworkAccess: 'Enabled'
  }
}

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/ai-machine-learning
var roles = 'Microsoft.Authorization/roleDefinitions'
// Search Service Contributor
var serviceContributor = subscriptionResourceId(roles, '7ca78c08-252a-4471-8644-bb5ff32d4ba0')
// Search Index Data Contributor
var indexDataContributor = subscriptionResourceId(roles, '8ebe5a00-799e-43f5-93ac-243d3dce84a7')
// Search Index Data Reader
var indexDataReader = subscriptionResourceId(roles, '1407120a-92aa-4202-b7e9-c0e197c71c8f')

resource operatorMakesIndexes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  scope: search
  name: guid(search.id, principalId, serviceContributor)
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: serviceContributor
  }
}

resource operatorFillsIndexes 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  scope: search
  name: guid(search.id, principalId, indexDataContributor)
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: indexDataContributor
  }
}

resource projectReadsIndexes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: search
  name: guid(search.id, projectPrincipalId, indexDataReader)
  properties: {
    principalId: projectPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: indexDataReader
  }
}

output id string = search.id
output endpoint string = 'https://${search.name}.search.windows.net'
