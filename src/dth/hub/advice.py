"""What a user can do about a failure, by its reason: an error code of the store, or one of this
program."""

ADVICE = {
    "AccessDenied": (
        "The credentials may not do this to the object. Run a preflight: it shows the "
        "statement to add."
    ),
    "InvalidObjectState": (
        "The object is archived. Set restoreArchived, and run again when the copies are there."
    ),
    "ObjectArchived": (
        "The object is archived. Set restoreArchived, and run again when the copies are there."
    ),
    "ChecksumMismatch": "The bytes that came are not those that the source has on record. "
    "Retry; if it stays, look at the source object itself.",
    "EntityTooLarge": (
        "The destination takes no object of this size. Raise partSize, or leave it out by maxSize."
    ),
    "KeyTooLongError": (
        "The key is too long under the destination prefix. Give a shorter destPrefix."
    ),
    "InvalidStorageClass": (
        "The destination does not know this storage class. Change destStorageClass."
    ),
    "AccessControlListNotSupported": "The destination bucket has ACLs disabled. Take destAcl away.",
    "KMS.DisabledException": "The KMS key is disabled. Enable it, or give another one.",
    "NotImplemented": (
        "The store does not know this operation. See the table of stores for what it can do."
    ),
    "SlowDown": "The store asks to slow down. Retry later, or set maxRequestsPerSecond.",
    "WorkerCrashed": (
        "A worker crashed on this object five times. Look at the workers' logs, and report it."
    ),
    "ObjectChanged": "The object changed every time while it was copied. Retry when it is quiet.",
    "PreconditionFailed": (
        "The object changed every time while it was copied. Retry when it is quiet."
    ),
    # Images.
    "IMMUTABLE": "The destination has another image under this tag, and its tags cannot be "
    "moved. Copy it under another tag or prefix, or delete the tag there.",
    "MANIFEST_UNKNOWN": (
        "The source has no such image. Correct the image list, or take the image out of it."
    ),
    "UNAUTHORIZED": "The registry refuses the credentials. Correct the secret, then retry.",
    "DENIED": (
        "The credentials may not do this in this repository. Run a preflight: it shows what is "
        "missing."
    ),
    "NAME_UNKNOWN": "There is no such repository to push to. Make it, or let the task make it.",
    "TOOMANYREQUESTS": "The registry allows no more pulls for now. Sign in there, or retry later.",
    "TimeLimit": (
        "Copying took longer than copyTimeout. Raise it, or see why the registries are slow."
    ),
    "UNSUPPORTED": "The destination takes no image of this kind.",
    "REFUSED": (
        "The image has no place at the destination, or none of the platforms. Look at the detail."
    ),
    "Unavailable": "The registry had trouble of its own. Retry later.",
    # Connections to stores and registries.
    "ConnectionFailed": "The server could not be reached. Retry when it is there.",
    "UnknownHost": (
        "No name server knows the host. Correct its name, or retry when name servers answer again."
    ),
    "NoTls": "The server speaks no TLS. If that is meant, set srcPlainHttp or destPlainHttp "
    "for a registry, or write http:// in the endpoint of a store.",
    "UntrustedCertificate": "The server's certificate is not trusted. Name its authority, as "
    "the hub's settings list it, in srcCaBundle or destCaBundle.",
    "AddressRefused": (
        "The hub may not connect to this address. Name another endpoint, or ask the hub's "
        "administrator."
    ),
}
GENERAL = "Look at the detail and at the workers' logs, mend the cause, then retry what failed."


def advice(reason: str) -> str:
    """Returns one or two sentences."""
    return ADVICE.get(reason, GENERAL)
