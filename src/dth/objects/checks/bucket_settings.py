"""What a bucket's settings mean for the objects that a transfer writes there. The elements come
from `S3Client.setting`. None means that a setting does not exist."""

from xml.etree.ElementTree import Element

from dth.objects.parameters import Acl

# The permission that reading each setting requires, and what is unknown without it.
READING = {
    "versioning": (
        "s3:GetBucketVersioning",
        "whether what is overwritten or deleted stays as an old version",
    ),
    "object-lock": (
        "s3:GetBucketObjectLockConfiguration",
        "whether Object Lock keeps what is written",
    ),
    "lifecycle": (
        "s3:GetLifecycleConfiguration",
        "whether lifecycle rules delete or move what is copied",
    ),
    "encryption": ("s3:GetEncryptionConfiguration", "how the bucket encrypts by itself"),
    "ownershipControls": ("s3:GetBucketOwnershipControls", "whether the bucket takes ACLs"),
}
ACLS_ALWAYS_TAKEN = (None, Acl.BUCKET_OWNER_FULL_CONTROL, Acl.PRIVATE)


def versioning(setting: Element | None) -> str:
    """Enabled, Suspended, or "" if versions were never kept."""
    return (setting.findtext("Status") or "") if setting is not None else ""


def retention(setting: Element | None) -> str:
    """How long Object Lock keeps every new object by default, such as `GOVERNANCE for 30 days`; ""
    if it does not."""
    rule = setting.find("Rule/DefaultRetention") if setting is not None else None
    if rule is None:
        return ""
    mode, days, years = (rule.findtext(name) or "" for name in ("Mode", "Days", "Years"))
    return f"{mode} for {f'{days} days' if days else f'{years} years'}"


def encryption(setting: Element | None) -> tuple[str, str]:
    """The default algorithm (`AES256`, `aws:kms`...; "" for none) and its key."""
    default = (
        setting.find("Rule/ApplyServerSideEncryptionByDefault") if setting is not None else None
    )
    if default is None:
        return "", ""
    return default.findtext("SSEAlgorithm") or "", default.findtext("KMSMasterKeyID") or ""


def takes_acls(setting: Element | None) -> bool:
    """Whether objects may have ACLs of their own."""
    ownership = setting.findtext("Rule/ObjectOwnership") if setting is not None else None
    return ownership != "BucketOwnerEnforced"


def lifecycle(setting: Element | None, prefix: str) -> list[str]:
    """What the rules do with some or all objects below the prefix, one line per rule."""
    found = []
    for rule in setting.findall("Rule") if setting is not None else []:
        below = next(
            (
                text
                for path in ("Prefix", "Filter/Prefix", "Filter/And/Prefix")
                if (text := rule.findtext(path))
            ),
            "",
        )
        apart = not (prefix.startswith(below) or below.startswith(prefix))
        if rule.findtext("Status") != "Enabled" or apart:
            continue
        actions = [
            f"deletes them{_when(each)}" for each in rule.findall("Expiration") if _when(each)
        ]
        actions += [
            f"moves them to {each.findtext('StorageClass')}{_when(each)}"
            for each in rule.findall("Transition")
        ]
        if actions:
            scope = f"objects below {below!r}" if len(below) > len(prefix) else "the copies"
            if any(rule.find(path) is not None for path in ("Filter/Tag", "Filter/And/Tag")):
                scope += " that have certain tags"
            found.append(
                f"rule {rule.findtext('ID') or ''!r} takes {scope} and {' and '.join(actions)}"
            )
    return found


def _when(action: Element) -> str:
    if days := action.findtext("Days"):
        return f" after {days} days"
    date = action.findtext("Date")
    return f" on {date[:10]}" if date else ""
