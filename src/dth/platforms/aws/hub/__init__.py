"""The hub on AWS: `dth.hub.ports` over DynamoDB, CloudWatch, Secrets Manager, Cognito and
CloudFormation."""
