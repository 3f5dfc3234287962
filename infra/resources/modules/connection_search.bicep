// Shows the search service to the project, for its own tools. rag-chat itself asks the service directly.
param accountName string
param projectName string
param searchId string

// The project may be in another subscription.
var parts = split(searchId, '/')

resource search 'Microsoft.Search/searchServices@2025-05-01' existing = {
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
  name: 'search'
  properties: {
    category: 'CognitiveSearch'
    target: 'https://${search.name}.search.windows.net'
    authType: 'AAD'
    isSharedToAll: true
    metadata: {
      ApiType: 'Azure'
      ResourceId: search.id
      location: search.location
    }
  }
}

output name string = connection.name
