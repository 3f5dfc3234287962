// Two log alerts over the request log that every agent writes (agent_runtime.hosting.access_log): too many failures, too slow.
// They look at each agent by itself, and stay silent below ten requests.
param location string
param tags object
param resourceToken string
param applicationInsightsId string
param email string
param failurePercent int
param latencyMilliseconds int

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-${resourceToken}'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'agents'
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var rules = [
  {
    key: 'failures'
    displayName: 'Agents: requests fail'
    description: 'In 15 minutes more than ${failurePercent} % of the requests of an agent ended with a 5xx, or there were as many error records.'
    query: replace(loadTextContent('failures.kql'), '{threshold}', string(failurePercent))
    severity: 1
  }
  {
    key: 'latency'
    displayName: 'Agents: answers are slow'
    description: 'In 15 minutes the 95th percentile of an agent was above ${latencyMilliseconds} ms.'
    query: replace(loadTextContent('latency.kql'), '{threshold}', string(latencyMilliseconds))
    severity: 2
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: 'alert-${rule.key}-${resourceToken}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.displayName
      description: rule.description
      severity: rule.severity
      enabled: true
      scopes: [
        applicationInsightsId
      ]
      evaluationFrequency: 'PT15M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: [
              {
                name: 'agent'
                operator: 'Include'
                values: ['*']
              }
            ]
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(email) ? [] : [mail.id]
      }
    }
  }
]

output names array = [for (rule, index) in rules: alerts[index].name]
