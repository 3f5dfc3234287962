// The agents' workbook: it opens from Application Insights, under Workbooks.
param location string
param tags object
param applicationInsightsId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'agents')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Agents'
    description: 'Requests, failures, latency, tokens and starts of the hosted agents.'
    category: 'workbook'
    sourceId: applicationInsightsId
    version: '1.0'
    serializedData: loadTextContent('workbook.json')
  }
}

output id string = workbook.id
