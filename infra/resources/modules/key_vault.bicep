// The vault for the secrets of webhook sources. Access is by role only: who runs azd may write secrets; the agent that
// reads them gets its role from the postdeploy hook.
param location string
param tags object
param resourceToken string
param recover bool
param principalId string
param principalType string
param logAnalyticsId string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: 'kv-${resourceToken}'
  location: location
  tags: tags
  // checkov:skip=CKV_AZURE_109:the sandboxes of hosted agents have no fixed addresses; access needs a token and a role
  // checkov:skip=CKV_AZURE_189:without a virtual network the sandboxes reach it by its public address only
  properties: {
    createMode: recover ? 'recover' : 'default'
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    // The shortest there is: as long is the name taken after `azd down`.
    softDeleteRetentionInDays: 7
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      defaultAction: 'Allow'
      bypass: 'AzureServices'
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(logAnalyticsId)) {
  scope: vault
  name: 'audit'
  properties: {
    workspaceId: logAnalyticsId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

// Key Vault Secrets Officer: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security
var roles = 'Microsoft.Authorization/roleDefinitions'
var secretsOfficer = subscriptionResourceId(roles, 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')

resource operatorWritesSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(principalId)) {
  scope: vault
  name: guid(vault.id, principalId, secretsOfficer)
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: secretsOfficer
  }
}

output id string = vault.id
output name string = vault.name
output endpoint string = vault.properties.vaultUri
