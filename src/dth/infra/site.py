"""The web console behind CloudFront: static files in a private bucket, and the API at the same
address.

The console therefore needs no requests to other hosts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import CfnParameter, Fn, aws_cloudfront, aws_s3

from dth.infra.statements import Statement, not_by_tasks, only_by_tls, policy
from dth.infra.template import Template

# CloudFront's managed policies, the same in every account.
CACHED = "658327ea-f89d-4fab-a63d-7e88639e58f6"  # CachingOptimized
NOT_CACHED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled
ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # AllViewerExceptHostHeader
# What CloudFront forwards in China, where it has no policies. Answers of the API are never kept.
FILES = {"forwarded_values": {"QueryString": False}}
API = {
    "forwarded_values": {
        "QueryString": True,
        "Headers": ["Authorization"],
        "Cookies": {"Forward": "none"},
    },
    "min_ttl": 0,
    "default_ttl": 0,
    "max_ttl": 0,
}
CONSOLE = "Console"  # the bucket with its files
RUNTIME = "cloudfront-js-2.0"
# The console decides which page an address means.
PAGES = """function handler(event) {
  var request = event.request;
  var docs = /^(\\/docs(\\/zh)?)\\/?$/.exec(request.uri);
  if (docs) request.uri = docs[1] + '/index.html';
  if (request.uri.lastIndexOf('.') <= request.uri.lastIndexOf('/')) request.uri = '/index.html';
  return request;
}
"""
# AppSync requires the token alone.
BEARER = """function handler(event) {
  var request = event.request;
  var given = request.headers.authorization;
  if (given) given.value = given.value.replace(/^Bearer /i, '');
  return request;
}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The site's resources. `address`: the console's address for its users."""

    bucket: aws_s3.CfnBucket
    distribution: aws_cloudfront.CfnDistribution
    address: str


def add_site(
    stack: Template,
    api: str,
    asked: list[str],
    domain: CfnParameter,
    certificates: Sequence[CfnParameter],
    web_acl: CfnParameter,
    *,
    plain: bool,
) -> Site:
    """Add the console's bucket and distribution to the stack.

    `api`: host of the GraphQL API. `asked`: other addresses that the console requests, for sign-in.
    These parameters may be empty: the domain, its certificate (in ACM, or another one in IAM), and
    the web ACL. `plain`: for China, too. Without the types of resources that its regions do not
    know, functions and access with signed requests; and there, without the properties that its
    CloudFront refuses.
    """
    bucket = _bucket(stack)
    has_domain, has_acl = stack.is_given(domain), stack.is_given(web_acl)
    headers = _headers(stack, asked)
    here = _China(stack) if plain else None
    if here:
        headers.cfn_options.condition = stack.holds(here.elsewhere)
    reader, console = _reader(stack, bucket, plain)
    by_default = {
        "ViewerCertificate": {"CloudFrontDefaultCertificate": True},
        "Own": _certificate(stack, *certificates),
    }
    distribution = aws_cloudfront.CfnDistribution(
        stack,
        "Distribution",
        distribution_config=aws_cloudfront.CfnDistribution.DistributionConfigProperty(
            enabled=True,
            comment=stack.sub("Data Transfer Hub ${AWS::StackName}"),
            default_root_object="index.html",
            http_version="http2",
            ipv6_enabled=here.not_there(True, False) if here else True,
            aliases=cdk.Token.as_list(stack.when(has_domain, [domain.value_as_string])),
            viewer_certificate=stack.when(
                has_domain, by_default["Own"], by_default["ViewerCertificate"]
            ),
            web_acl_id=_web_acl(stack, has_acl, web_acl, here),
            origins=[
                console,
                aws_cloudfront.CfnDistribution.OriginProperty(
                    id="api",
                    domain_name=api,
                    custom_origin_config=aws_cloudfront.CfnDistribution.CustomOriginConfigProperty(
                        origin_protocol_policy="https-only", origin_ssl_protocols=["TLSv1.2"]
                    ),
                ),
            ],
            custom_error_responses=[_page_for_all()] if plain else None,
            default_cache_behavior=aws_cloudfront.CfnDistribution.DefaultCacheBehaviorProperty(
                target_origin_id="console",
                viewer_protocol_policy="redirect-to-https",
                compress=True,
                **_caching(here, {"cache_policy_id": CACHED}, headers, FILES),
                function_associations=None if plain else [_function(stack, "Pages", PAGES)],
            ),
            cache_behaviors=[
                aws_cloudfront.CfnDistribution.CacheBehaviorProperty(
                    path_pattern="/graphql",
                    target_origin_id="api",
                    viewer_protocol_policy="https-only",
                    allowed_methods=["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"],
                    **_caching(
                        here,
                        {"cache_policy_id": NOT_CACHED, "origin_request_policy_id": ALL_BUT_HOST},
                        headers,
                        API,
                    ),
                    function_associations=None if plain else [_function(stack, "Bearer", BEARER)],
                )
            ],
        ),
    )
    # cfn-lint assumes an empty certificate, and policies in China, although conditions exclude
    # both.
    ignored = ["W1030", "W3704"] if here else ["W1030"]
    distribution.cfn_options.metadata = {"cfn-lint": {"config": {"ignore_checks": ignored}}}
    _let_in(stack, bucket, reader or _distribution_itself(stack, distribution))
    host = stack.when(has_domain, domain.value_as_string, distribution.attr_domain_name)
    return Site(bucket, distribution, stack.sub("https://${Host}", Host=host))


class _China:
    """Whether the stack is in China, whose CloudFront has no policies, no IPv6, and no web ACLs."""

    def __init__(self, stack: Template) -> None:
        self._stack = stack
        there = stack.condition("InChina", Fn.condition_equals(cdk.Aws.PARTITION, "aws-cn"))
        self.there = there
        self.elsewhere = stack.condition("NotInChina", Fn.condition_not(stack.holds(there)))

    def not_there(self, value: Any, otherwise: Any = None) -> Any:
        """Return the value outside China, and `otherwise` there; without it, no property."""
        return self._stack.when(self.elsewhere, value, otherwise)

    def only_there(self, value: Any) -> Any:
        """Return the value in China, and no property elsewhere."""
        chosen = self._stack.when(self.there, value)
        return cdk.Token.as_number(chosen) if isinstance(value, int) else chosen


def _caching(
    here: _China | None,
    policies: dict[str, str],
    headers: aws_cloudfront.CfnResponseHeadersPolicy,
    forwarded: dict[str, Any],
) -> dict[str, Any]:
    """Return the policies of a behaviour; in China, what it forwards and keeps."""
    policies = {**policies, "response_headers_policy_id": headers.attr_id}
    if here is None:
        return policies
    return {
        **{name: here.not_there(value) for name, value in policies.items()},
        **{name: here.only_there(value) for name, value in forwarded.items()},
    }


def _web_acl(stack: Template, given: str, web_acl: CfnParameter, here: _China | None) -> Any:
    chosen = stack.when(given, web_acl.value_as_string)
    return here.not_there(chosen) if here else chosen


def _certificate(stack: Template, managed: CfnParameter, server: CfnParameter | None = None) -> Any:
    own = {"SslSupportMethod": "sni-only", "MinimumProtocolVersion": "TLSv1.2_2021"}
    by_acm = {**own, "AcmCertificateArn": managed.value_as_string}
    if server is None:
        return by_acm
    by_iam = {**own, "IamCertificateId": server.value_as_string}
    return stack.when(stack.is_given(server), by_iam, by_acm)


def _bucket(stack: Template) -> aws_s3.CfnBucket:
    """Create the bucket: private and encrypted."""
    encrypted = aws_s3.CfnBucket.ServerSideEncryptionByDefaultProperty(sse_algorithm="AES256")
    bucket = aws_s3.CfnBucket(
        stack,
        CONSOLE,
        bucket_encryption=aws_s3.CfnBucket.BucketEncryptionProperty(
            server_side_encryption_configuration=[
                aws_s3.CfnBucket.ServerSideEncryptionRuleProperty(
                    server_side_encryption_by_default=encrypted
                )
            ]
        ),
        public_access_block_configuration=aws_s3.CfnBucket.PublicAccessBlockConfigurationProperty(
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
        ),
        ownership_controls=aws_s3.CfnBucket.OwnershipControlsProperty(
            rules=[
                aws_s3.CfnBucket.OwnershipControlsRuleProperty(
                    object_ownership="BucketOwnerEnforced"
                )
            ]
        ),
    )
    bucket.apply_removal_policy(cdk.RemovalPolicy.DESTROY)
    return bucket


def _reader(
    stack: Template, bucket: aws_s3.CfnBucket, plain: bool
) -> tuple[Statement | None, aws_cloudfront.CfnDistribution.OriginProperty]:
    """Return the console's files as an origin, and who reads them.

    The reader is an identity of CloudFront, or None for the distribution itself.
    """
    if plain:
        identity = aws_cloudfront.CfnCloudFrontOriginAccessIdentity(
            stack,
            "ConsoleReader",
            cloud_front_origin_access_identity_config=aws_cloudfront.CfnCloudFrontOriginAccessIdentity.CloudFrontOriginAccessIdentityConfigProperty(
                comment=stack.sub("Data Transfer Hub ${AWS::StackName}")
            ),
        )
        reader = {"Principal": {"CanonicalUser": identity.attr_s3_canonical_user_id}}
        named = stack.sub("origin-access-identity/cloudfront/${Id}", Id=identity.ref)
        return reader, _origin(bucket, named)
    access = aws_cloudfront.CfnOriginAccessControl(
        stack,
        "ConsoleAccess",
        origin_access_control_config=aws_cloudfront.CfnOriginAccessControl.OriginAccessControlConfigProperty(
            name=stack.sub("${AWS::StackName}-${AWS::Region}-console"),
            origin_access_control_origin_type="s3",
            signing_behavior="always",
            signing_protocol="sigv4",
        ),
    )
    return None, _origin(bucket, "", origin_access_control_id=access.attr_id)


def _origin(
    bucket: aws_s3.CfnBucket, identity: str, **more: Any
) -> aws_cloudfront.CfnDistribution.OriginProperty:
    return aws_cloudfront.CfnDistribution.OriginProperty(
        id="console",
        domain_name=bucket.attr_regional_domain_name,
        s3_origin_config=aws_cloudfront.CfnDistribution.S3OriginConfigProperty(
            origin_access_identity=identity
        ),
        **more,
    )


def _page_for_all() -> aws_cloudfront.CfnDistribution.CustomErrorResponseProperty:
    """Show a page of the console for every missing file: for these the bucket returns 403."""
    return aws_cloudfront.CfnDistribution.CustomErrorResponseProperty(
        error_code=403, response_code=200, response_page_path="/index.html", error_caching_min_ttl=0
    )


def _distribution_itself(
    stack: Template, distribution: aws_cloudfront.CfnDistribution
) -> Statement:
    arn = stack.sub(
        "arn:${AWS::Partition}:cloudfront::${AWS::AccountId}:distribution/${Id}",
        Id=distribution.attr_id,
    )
    return {
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Condition": {"StringEquals": {"aws:SourceArn": arn}},
    }


def _let_in(stack: Template, bucket: aws_s3.CfnBucket, reader: Statement) -> None:
    files = stack.sub("${Bucket}/*", Bucket=bucket.attr_arn)
    reads = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": files, **reader}
    aws_s3.CfnBucketPolicy(
        stack,
        "ConsolePolicy",
        bucket=bucket.ref,
        policy_document=policy(
            [
                only_by_tls([bucket.attr_arn, files], "s3:*"),
                not_by_tasks([bucket.attr_arn, files]),
                reads,
            ]
        ),
    )


def _function(
    stack: Template, name: str, code: str
) -> aws_cloudfront.CfnDistribution.FunctionAssociationProperty:
    made = aws_cloudfront.CfnFunction(
        stack,
        name,
        name=stack.sub(f"${{AWS::StackName}}-${{AWS::Region}}-{name}"),
        auto_publish=True,
        function_code=code,
        function_config=aws_cloudfront.CfnFunction.FunctionConfigProperty(
            comment=name, runtime=RUNTIME
        ),
    )
    return aws_cloudfront.CfnDistribution.FunctionAssociationProperty(
        event_type="viewer-request", function_arn=made.attr_function_arn
    )


def _headers(stack: Template, asked: list[str]) -> aws_cloudfront.CfnResponseHeadersPolicy:
    """Allow only our own files, and requests to the API and to sign-in."""
    asks = " ".join(["'self'", *asked])
    content = Fn.join(
        "",
        [
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; ",
            (
                f"font-src 'self' data:; connect-src {asks}; frame-src {asks}; frame-ancestors "
                "'self'; "
            ),
            "base-uri 'none'; form-action 'none'",
        ],
    )
    config = aws_cloudfront.CfnResponseHeadersPolicy
    return aws_cloudfront.CfnResponseHeadersPolicy(
        stack,
        "SecurityHeaders",
        response_headers_policy_config=config.ResponseHeadersPolicyConfigProperty(
            name=stack.sub("${AWS::StackName}-${AWS::Region}-security"),
            security_headers_config=config.SecurityHeadersConfigProperty(
                content_security_policy=config.ContentSecurityPolicyProperty(
                    content_security_policy=content, override=True
                ),
                content_type_options=config.ContentTypeOptionsProperty(override=True),
                frame_options=config.FrameOptionsProperty(frame_option="SAMEORIGIN", override=True),
                referrer_policy=config.ReferrerPolicyProperty(
                    referrer_policy="no-referrer", override=True
                ),
                strict_transport_security=config.StrictTransportSecurityProperty(
                    access_control_max_age_sec=63_072_000, include_subdomains=False, override=True
                ),
            ),
        ),
    )
