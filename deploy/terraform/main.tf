# A hub or a task of Data Transfer Hub, from the template that `dth aws publish` put into the account.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the stack. A hub's has at most 19 characters."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,127}$", var.name))
    error_message = "A stack's name begins with a letter and has letters, digits and hyphens."
  }
}

variable "template_url" {
  description = "Address of the template, as `dth aws publish` prints it."
  type        = string

  validation {
    condition     = can(regex("^https://.+/templates/(s3|ecr|hub|hub-oidc)\\.json$", var.template_url))
    error_message = "Give the address of a template that `dth aws publish` printed."
  }
}

variable "parameters" {
  description = "Parameters of the template, by name. Those that are left out have their defaults."
  type        = map(string)
  default     = {}
}

variable "tags" {
  description = "Tags of everything that the stack makes."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(key, "DataTransferHub")])
    error_message = "Tags that begin with DataTransferHub are the hub's own."
  }
}

locals {
  is_hub = can(regex("/templates/hub", var.template_url))
  # A hub gives them to its tasks.
  task_tags = local.is_hub && length(var.tags) > 0 ? { taskTags = jsonencode(var.tags) } : {}
}

resource "aws_cloudformation_stack" "this" {
  name         = var.name
  template_url = var.template_url
  parameters   = merge(local.task_tags, var.parameters)
  capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
  tags         = var.tags

  lifecycle {
    precondition {
      condition     = !local.is_hub || length(var.name) <= 19
      error_message = "The name of a hub has at most 19 characters: its tasks' stacks are named after it."
    }
  }

  timeouts {
    create = "60m"
    update = "60m"
    delete = "60m"
  }
}

output "outputs" {
  description = "Outputs of the stack, by name."
  value       = aws_cloudformation_stack.this.outputs
}

output "id" {
  description = "ID of the stack."
  value       = aws_cloudformation_stack.this.id
}
