"""Bodies in the aws-chunked encoding, followed by their checksum, which is not known earlier for a
streamed body.

Sources: "Signature calculations for trailing headers (chunked uploads)", Amazon S3 API Reference;
`AwsChunkedWrapper` in botocore. The signature covers only the headers, so this is used only over
TLS, as in botocore. Over plain HTTP, the AWS SDKs sign each chunk, which costs the SHA-256 of all
bytes.
"""

from collections.abc import Callable

from dth.core.transport import Pipe

# Bytes per chunk, as in botocore. AWS requires at least 8 KiB, MinIO at most 16 MiB.
CHUNK = 1024 * 1024
CONTENT_SHA256 = "x-amz-content-sha256"


class Trailed(Pipe):
    """A pipe that frames what passes through it. `name` is the header at the end. `value` returns
    its value, which must always have the same length."""

    def __init__(
        self,
        length: int,
        limit: int,
        on_chunk: Callable[[bytes], None],
        name: str,
        value: Callable[[], str],
    ):
        super().__init__(length, limit, on_chunk)
        self._name = name
        self._value = value
        # Unread bytes of the body beyond this chunk, and in this chunk.
        self._beyond = length
        self._open = 0
        # The framing to read before them.
        self._frame = self._next_chunk()

    def __len__(self) -> int:
        """The bytes of the body as it is sent, with the frame."""
        return framed_length(self._length, len(self._trailer()))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that describe the body."""
        return {
            "content-encoding": "aws-chunked",
            CONTENT_SHA256: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": str(self._length),
            "x-amz-trailer": self._name,
        }

    def read(self, size: int) -> bytes | int:
        """As `Pipe.read`, with the framing."""
        frame, self._frame = self._frame[:size], self._frame[size:]
        room = min(size - len(frame), self._open)
        if not room:
            return frame
        data = super().read(room)
        if isinstance(data, int):
            # A result that is not data is returned again at the next call.
            return frame or data
        self._open -= len(data)
        if not self._open:
            self._frame = b"\r\n" + self._next_chunk()
        return frame + data if frame else data

    def _next_chunk(self) -> bytes:
        """The framing before the bytes of the next chunk; after the last chunk, everything that
        follows."""
        self._open = min(CHUNK, self._beyond)
        self._beyond -= self._open
        return b"%x\r\n" % self._open if self._open else b"0\r\n" + self._trailer()

    def _trailer(self) -> bytes:
        return f"{self._name}:{self._value()}\r\n\r\n".encode()


def framed_length(length: int, trailer: int) -> int:
    """The bytes sent for a body of `length` bytes with a trailer of `trailer` bytes."""
    whole, rest = divmod(length, CHUNK)
    return (
        whole * _chunk_length(CHUNK) + (_chunk_length(rest) if rest else 0) + len("0\r\n") + trailer
    )


def _chunk_length(size: int) -> int:
    return len(f"{size:x}\r\n") + size + len("\r\n")
