"""What a user can do about a failure, by its reason: an error code of the store, or one of this
program."""

ADVICE = {
    "AccessDenied": (
        "The credentials do not allow this. Run a preflight: it shows the policy statement to add."
    ),
    "InvalidObjectState": (
        "The object is archived. Set restoreArchived, and run again when the copies are there."
    ),
    "ObjectArchived": (
        "The object is archived. Set restoreArchived, and run again when the copies are there."
    ),
    "ChecksumMismatch": (
        "The bytes received are not those that the source has on record. Retry. If it fails "
        "again, check the source object itself."
    ),
    "EntityTooLarge": (
        "The destination does not accept an object of this size. Raise partSize, or leave it "
        "out with maxSize."
    ),
    "KeyTooLongError": (
        "The key is too long below the destination prefix. Use a shorter destPrefix."
    ),
    "InvalidStorageClass": (
        "The destination does not know this storage class. Change destStorageClass."
    ),
    "AccessControlListNotSupported": (
        "ACLs are disabled for the destination bucket. Remove destAcl."
    ),
    "KMS.DisabledException": "The KMS key is disabled. Enable it, or use another key.",
    "NotImplemented": "The store does not support this operation. See the table of stores.",
    "SlowDown": "The store asked to slow down. Retry later, or set maxRequestsPerSecond.",
    "WorkerCrashed": (
        "A worker crashed on this object five times. See the logs of the workers, and report it."
    ),
    "ObjectChanged": (
        "The object changed each time while it was copied. Retry when it no longer changes."
    ),
    "PreconditionFailed": (
        "The object changed each time while it was copied. Retry when it no longer changes."
    ),
    # Images.
    "IMMUTABLE": (
        "The destination has another image under this tag, and its tags cannot be "
        "overwritten. Copy it under another tag or prefix, or delete the tag there."
    ),
    "MANIFEST_UNKNOWN": (
        "The source does not have this image. Correct the image list, or remove the image from it."
    ),
    "UNAUTHORIZED": "The registry refuses the credentials. Correct the secret, then retry.",
    "DENIED": (
        "The credentials do not allow this in this repository. Run a preflight: it shows what "
        "is missing."
    ),
    "NAME_UNKNOWN": (
        "The repository does not exist at the destination. Create it, or let the task create it."
    ),
    "TOOMANYREQUESTS": "The registry allows no more pulls for now. Sign in there, or retry later.",
    "TimeLimit": (
        "The copy took longer than copyTimeout. Raise it, or check why the registries are slow."
    ),
    "UNSUPPORTED": "The destination does not accept this kind of image.",
    "REFUSED": (
        "The image has no valid name at the destination, or has none of the platforms. See "
        "the detail."
    ),
    "Unavailable": "The registry had an internal problem. Retry later.",
    # Connections to stores and registries.
    "ConnectionFailed": "The server could not be reached. Retry when it is available.",
    "UnknownHost": (
        "No name server knows the host. Correct its name, or retry when name servers answer again."
    ),
    "NoTls": (
        "The server does not use TLS. If this is intended, set srcPlainHttp or destPlainHttp "
        "for a registry, or use http:// in the endpoint of a store."
    ),
    "UntrustedCertificate": (
        "The certificate of the server is not trusted. Set srcCaBundle or destCaBundle to a "
        "CA bundle that the hub's settings list."
    ),
    "AddressRefused": (
        "The hub is not allowed to connect to this address. Use another endpoint, or ask the "
        "administrator of the hub."
    ),
}
GENERAL = "See the detail and the logs of the workers, fix the cause, then retry."


def advice(reason: str) -> str:
    """Returns one or two sentences."""
    return ADVICE.get(reason, GENERAL)
