"""What a store accepts, learned from requests and their answers.

A refusal is compared with the headers that its own request carried. If another request has learned
something in the meantime, so that one of these headers is no longer sent, the request is simply
sent again. Otherwise it is tried with fewer headers, and the omission that made it succeed is
remembered. Each finding leaves a note for the user.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from dth.core.errors import EndpointRefused, ObjectRefused, TransferError
from dth.core.transport import Response
from dth.objects.store.checksums import header_name
from dth.objects.store.endpoints import ChecksumMode, EtagKind, Profile
from dth.objects.store.request import ENCODING_TYPE, Request, Sender

# Headers of CreateMultipartUpload that ask the store to keep a checksum of the whole object.
UPLOAD_CHECKSUM = "x-amz-checksum-algorithm"
UPLOAD_CHECKSUM_TYPE = "x-amz-checksum-type"
CHECKSUM_MODE = "x-amz-checksum-mode"
CONTENT_MD5 = "content-md5"
SUMS = frozenset(
    header_name(mode) for mode in ChecksumMode if mode not in (ChecksumMode.NONE, ChecksumMode.MD5)
)
VAGUE_CODES = {"BadRequest", "InvalidArgument", "InvalidHeader", "InvalidRequest", "NotImplemented"}


NO_HEADERS: AbstractSet[str] = frozenset()


class Feature(Enum):
    """Something that a request can omit: its headers, the words that name it in a refusal, and the
    text for the user ("" if nothing is lost)."""

    UPLOAD_SUM = (
        {UPLOAD_CHECKSUM, UPLOAD_CHECKSUM_TYPE},
        r"checksum|digest|md5",
        "keeps no checksum of a multipart upload ({}); its parts are covered one by one",
    )
    SUM = (
        SUMS,
        r"checksum|digest|md5",
        "refuses x-amz-checksum headers ({}); bodies go with Content-MD5",
    )
    MD5 = ({CONTENT_MD5}, r"checksum|digest|md5", "refuses Content-MD5 ({})")
    SUM_MODE = ({CHECKSUM_MODE}, r"checksum", "")
    # Keys that XML cannot hold are a separate error.
    ENCODING = ({ENCODING_TYPE}, r"encoding.?(type|method)", "")
    IF_MATCH = (
        {"if-match"},
        r"if-match|conditional",
        "knows no If-Match ({}); ETags of answers are compared instead",
    )
    ACL = (
        {"x-amz-acl"},
        r"\bacl|accesscontrollist",
        "takes no ACLs ({}); objects are written without",
    )
    TAGS = ({"x-amz-tagging"}, r"\btag", "takes no tags ({}); objects are written without")
    # Not a header, but the content of some headers.
    RAW_METADATA = (
        NO_HEADERS,
        "signature",
        "takes metadata in ASCII only ({}); other texts go as RFC 2047 words",
    )

    def __init__(self, headers: AbstractSet[str], words: str, lost: str) -> None:
        self.headers = headers
        self.words = re.compile(words)
        self.lost = lost

    # The one of Enum hashes the name each time.
    __hash__ = object.__hash__

    def is_in(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers uses the feature."""
        if self is Feature.RAW_METADATA:
            return any(not value.isascii() for value in headers.values())
        return not self.headers.isdisjoint(headers)


FEATURES = {name: feature for feature in Feature for name in feature.headers}
# The features that cover a body.
BODY_SUMS = (Feature.SUM, Feature.MD5)
NO_SUMS = "refuses checksums ({}); bodies go without"
NAMED = re.compile("|".join(each.words.pattern for each in Feature))


@dataclass(slots=True)
class Capabilities:
    """What is known about one store so far. It starts with what the profile says."""

    # The checksum to use if the store accepts it. `checksum` is the one in use.
    wanted: ChecksumMode
    etags: EtagKind = EtagKind.UNKNOWN
    counts_tags: bool | None = None
    accept_gzip: bool = False
    most_parts: int = 10_000
    # Whether the store answers the checksum of what it stores; None: nothing was written yet.
    echoes: bool | None = None
    # Whether it also answers the checksums of streamed parts.
    answers_streamed: bool = False
    # Whether it accepts the checksum of a streamed part after its bytes; None: it should, but has
    # not shown it yet.
    trailers: bool | None = False
    # Whether the ETags of joined objects are made of those of their parts, as at AWS.
    joins_etags: bool = True
    # By part size: how often the guess that a source object has parts of this size was right, minus
    # how often not.
    part_sizes: dict[int, int] = field(default_factory=dict)
    # Whether the store refuses parts whose checksum is not stated before the body.
    wants_sums: bool = False
    refused: set[Feature] = field(default_factory=set)
    # Features that it has accepted, so it does not refuse them permanently.
    proven: set[Feature] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    # The names of all headers that it has accepted.
    _passed: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, profile: Profile, checksum: ChecksumMode, *, encrypted: bool) -> "Capabilities":
        """The initial knowledge about a store. `encrypted`: all requests use TLS."""
        known = cls(
            checksum, profile.etags, profile.counts_tags, profile.accept_gzip, profile.most_parts
        )
        if profile.trailers and encrypted:
            known.trailers = None
        lacking = {
            Feature.TAGS: not profile.tags,
            Feature.ACL: not profile.acl,
            Feature.RAW_METADATA: profile.ascii_metadata,
        }
        known.refused |= {feature for feature, lacks in lacking.items() if lacks}
        return known

    @property
    def checksum(self) -> ChecksumMode:
        """The checksum that covers the bodies of writes now."""
        if (
            self.wanted not in (ChecksumMode.NONE, ChecksumMode.MD5)
            and Feature.SUM not in self.refused
        ):
            return self.wanted
        if self.wanted is ChecksumMode.NONE or Feature.MD5 in self.refused:
            return ChecksumMode.NONE
        return ChecksumMode.MD5

    @property
    def trailing(self) -> bool:
        """Whether the checksum of a streamed part is sent after its bytes."""
        return self.trailers is not False and self.checksum not in (
            ChecksumMode.NONE,
            ChecksumMode.MD5,
        )

    @property
    def tags(self) -> bool:
        """Whether the store takes tags, as far as is known."""
        return Feature.TAGS not in self.refused

    @property
    def acl(self) -> bool:
        """Whether the store takes ACLs, as far as is known."""
        return Feature.ACL not in self.refused

    def learn_etags(self, *, md5s: bool) -> None:
        """Remember whether the ETags of objects written in one piece are MD5s."""
        self.etags = EtagKind.MD5 if md5s else EtagKind.OPAQUE

    def note(self, text: str) -> None:
        """Add a note for the user once."""
        if text not in self.notes:
            self.notes.append(text)

    def suspect(self, error: TransferError, headers: Mapping[str, str]) -> Feature | None:
        """The feature in these headers that a refusal may be about; None if it is about none of
        them."""
        candidates = [each for each in Feature if each not in self.proven and each.is_in(headers)]
        if error.code == "SignatureDoesNotMatch":
            return Feature.RAW_METADATA if Feature.RAW_METADATA in candidates else None
        if isinstance(error, EndpointRefused) or error.status not in (400, 403, 405, 501):
            return None
        text = f"{error.code} {error.said}".lower()
        if error.code == "InvalidTag":
            # This is about the tags of this object only.
            return None
        if NAMED.search(text):
            return next((each for each in candidates if each.words.search(text)), None)
        if error.status == 501 or error.code in VAGUE_CODES:
            # The refusal does not name its reason. Try the features one after the other.
            return next(iter(candidates), None)
        return None

    def prove(self, request: Request) -> None:
        """A request succeeded, so the store accepts what it carried."""
        for headers in (request.headers, request.options):
            # Fast path: nearly always they were accepted before, and this runs for every request.
            if headers and not headers.keys() <= self._passed:
                self._passed |= headers.keys()
                self.proven |= {FEATURES[name] for name in headers if name in FEATURES}

    def refuse(self, host: str, feature: Feature, code: str) -> None:
        """A request succeeded only without this feature. Remember it, and leave a note."""
        if feature in self.refused:
            return
        self.refused.add(feature)
        lost = (
            NO_SUMS if self.checksum is ChecksumMode.NONE and feature in BODY_SUMS else feature.lost
        )
        if lost:
            self.note(f"{host} {lost.format(code)}")


# Builds a request without the given features.
Dress = Callable[[AbstractSet[Feature]], Request]


class CapabilityLayer:
    """Sends a request with as many of its options as the store accepts."""

    def __init__(self, below: Sender, known: Capabilities, host: str) -> None:
        self._below = below
        self._known = known
        self._host = host

    def send(self, request: Request) -> Awaitable[Response]:
        if request.options or request.encodes:
            return self.adapted(partial(_without, request))
        return self._below.send(request)

    async def adapted(self, dress: Dress) -> Response:
        """Send `dress(without)`, and omit more and more as the store refuses it.

        Many refusals do not name their reason, so features are omitted one after the other. Only
        the last one is certainly refused, because omitting it made the request succeed. The next
        request shows it for the others.
        """
        known = self._known
        lessons: dict[Feature, str] = {}
        sent = dress(known.refused)
        while True:
            try:
                response = await self._below.send(sent)
            except (ObjectRefused, EndpointRefused) as error:
                if dress(known.refused | lessons.keys()).carried != sent.carried:
                    # Another request has learned something, which may be the reason for this
                    # refusal.
                    lessons.clear()
                    sent = dress(known.refused)
                    continue
                feature = known.suspect(error, sent.carried)
                if feature is None or feature in lessons:
                    raise
                lessons[feature] = error.code
                sent = dress(known.refused | lessons.keys())
                continue
            known.prove(sent)
            if lessons:
                known.refuse(self._host, *list(lessons.items())[-1])
            return response


def _without(request: Request, features: AbstractSet[Feature]) -> Request:
    if not features:
        return request
    if Feature.ENCODING in features and request.encodes:
        request = request.without_encoding()
    return request.with_headers(dressed(request.headers or {}, request.options or {}, features))


def dressed(
    headers: Mapping[str, str], options: Mapping[str, str], without: AbstractSet[Feature]
) -> dict[str, str]:
    """The headers, with those options that are not omitted."""
    found = {**headers, **options}
    if not without:
        return found
    for feature in without:
        for name in feature.headers:
            if name in options:
                found.pop(name, None)
    return ascii_metadata(found) if Feature.RAW_METADATA in without else found


def ascii_metadata(headers: dict[str, str]) -> dict[str, str]:
    """Metadata that is not ASCII becomes RFC 2047 words, which is how AWS itself answers it."""
    if all(value.isascii() for value in headers.values()):
        return headers
    # Imported here, because importing it takes as long as many small runs.
    from email.header import Header

    found = dict(headers)
    for name, value in headers.items():
        if name.startswith("x-amz-meta-") and not value.isascii():
            raw = value.encode("latin-1")
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                text = value
            found[name] = Header(text, "utf-8", maxlinelen=10_000).encode()
    return found
