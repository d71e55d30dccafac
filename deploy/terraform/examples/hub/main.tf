# A hub. First: dth aws publish --region eu-west-1
# It prints the values of template_url (hub: ...) and task_image (taskImage: ...).

provider "aws" {
  region = "eu-west-1"
}

variable "template_url" {
  type = string
}

variable "task_image" {
  type    = string
  default = ""
}

module "hub" {
  source       = "../.."
  name         = "dth"
  template_url = var.template_url
  tags         = { CostCenter = "42" }
  parameters = {
    adminEmail = "you@example.org"
    taskImage  = var.task_image
  }
}

output "url" {
  value = module.hub.outputs["Url"]
}
