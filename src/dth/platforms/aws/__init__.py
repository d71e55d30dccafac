"""The AWS platform: SQS, DynamoDB, Secrets Manager, CloudWatch."""
