# A task for objects without a hub. First: dth aws publish --region eu-west-1
# It prints the value of template_url (s3: ...).

provider "aws" {
  region = "eu-west-1"
}

variable "template_url" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

module "photos" {
  source       = "../.."
  name         = "photos"
  template_url = var.template_url
  parameters = {
    srcBucket  = "old-photos"
    destBucket = "new-photos"
    ec2VpcId   = var.vpc_id
    ec2Subnets = join(",", var.subnet_ids)
    alarmEmail = "ops@example.org"
  }
}

output "log_group" {
  value = module.photos.outputs["LogGroup"]
}
