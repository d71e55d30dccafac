"""A null S3 on nginx: costs a tenth of what a real store costs, so that the client is what is
measured.

Objects are files in memory: GET sends them (ranges too), PUT and UploadPart write them. Creating
and completing multipart uploads and listing are canned; there are no signatures, checksums are
answered without being checked, and there is one ETag for all writes.
"""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import tempfile
from pathlib import Path
from string import Template

from .certificates import Certificates, make_certificates
from .process import Process, answers, listening_socket
from .s3 import S3Server

# No MD5: clients that compare one would find every copy damaged.
_ETAG = '"written"'


def _xml(name: str, content: str) -> str:
    return f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'


_CANNED = {
    "location": _xml("LocationConstraint", ""),
    "listing": _xml("ListBucketResult", "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"),
    "created": _xml(
        "InitiateMultipartUploadResult",
        "<Bucket>$bucket</Bucket><Key>k</Key><UploadId>u-$request_id</UploadId>",
    ),
    "completed": _xml(
        "CompleteMultipartUploadResult", f"<Bucket>$bucket</Bucket><Key>k</Key><ETag>{_ETAG}</ETag>"
    ),
}

# "@" marks what Python fills in: "$" is nginx's own.
_CONFIG = r"""
daemon off; worker_processes @workers; pid @folder/pid; error_log @folder/error.log error; user @user @group;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; etag on;
  keepalive_requests 10000000; keepalive_timeout 600s;
  client_max_body_size 0; client_body_buffer_size 2m;
  # Bodies are renamed into place, so they must land on the same file system.
  client_body_temp_path @folder/data/.tmp; proxy_temp_path @folder/t; fastcgi_temp_path @folder/t;
  uwsgi_temp_path @folder/t; scgi_temp_path @folder/t;
  map $request_method $write_etag { PUT '@etag'; default ''; }
  map "$request_method $args" $operation {
    default object;
    "~^POST (.*&)?uploads(=|&|$)" create;
    "~^POST .*uploadId=" complete;
    "~^PUT .*partNumber=" part;
    "~^DELETE .*uploadId=" abort;
  }
  # $arg_ cannot name an argument with a dash in it.
  map $args $page { default ''; "~(^|&)continuation-token=(?<token>[0-9a-zA-Z]+)" $token; }
  map "$request_method $args" $bucket_operation {
    default other; "~^GET .*list-type=2" list; "~^GET (.*&)?location" location;
  }
  server {
    listen 127.0.0.1:@port @ssl backlog=4096; @security
    root @folder/data; default_type application/octet-stream;
    add_header ETag $write_etag always;
    # As AWS does: the checksum of a body is answered. Without one there is no such header.
    add_header x-amz-checksum-crc64nvme $http_x_amz_checksum_crc64nvme;
    merge_slashes off;

    location ~ ^/(?<bucket>[^/]+)/?$ {
      default_type application/xml;
      if ($bucket_operation = list) { rewrite ^ /.lists/$bucket/page$page.xml last; }
      if ($bucket_operation = location) { return 200 '@location'; }
      return 200 '';
    }
    location ^~ /.lists/ { internal; types { } default_type application/xml; error_page 404 =200 @@empty; }
    location @@empty {
      default_type application/xml;
      return 200 '@listing';
    }
    location ^~ /.parts/ { internal; dav_methods PUT DELETE; create_full_put_path on; }
    location ~ ^/(?<bucket>[^/]+)/(?<key>.+)$ {
      if ($operation = create) {
        return 200 '@created';
      }
      if ($operation = complete) {
        return 200 '@completed';
      }
      if ($operation = abort) { return 204; }
      if ($operation = part) { rewrite ^ /.parts/$arg_uploadId/$arg_partNumber last; }
      dav_methods PUT DELETE; create_full_put_path on;
    }
  }
}
"""


class _Template(Template):
    delimiter = "@"


class NullS3(S3Server):
    """`.folder` holds the buckets as folders: write objects there, or listings as
    `.lists/BUCKET/page.xml`.

    The page after it is `pageTOKEN.xml`, TOKEN being the continuation token that the first one
    gave.
    """

    _certificates: Certificates

    def __init__(self, *, workers: int = 2, tls: bool = False, ca: NullS3 | None = None) -> None:
        """`ca`: use the certificate of another one, so that one CA serves both."""
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx is None:
            raise RuntimeError("nginx is not installed")
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(
            prefix="dth-null-s3-", dir=memory if memory.is_dir() else None
        )
        root = Path(self._folder.name)
        self.folder = root / "data"
        for name in ("data/.tmp", "data/.lists", "data/.parts", "t"):
            (root / name).mkdir(parents=True)
        security = ""
        if tls:
            self._certificates = ca._certificates if ca else make_certificates(root)
            self.ca = self._certificates.ca
            security = (
                f"ssl_certificate {self._certificates.certificate}; ssl_certificate_key "
                f"{self._certificates.key}; ssl_session_cache shared:all:1m;"
            )
        with listening_socket() as listener:
            # nginx takes it as it is, and a worker that loses the race for a connection must not
            # wait for the next.
            listener.setblocking(False)
            port = listener.getsockname()[1]
            config = root / "nginx.conf"
            config.write_text(
                _Template(_CONFIG).substitute(
                    folder=root,
                    port=port,
                    workers=workers,
                    ssl="ssl" if tls else "",
                    security=security,
                    user=getpass.getuser(),
                    group=grp.getgrgid(os.getgid()).gr_name,
                    etag=_ETAG,
                    **_CANNED,
                )
            )
            self.process = Process(
                [nginx, "-p", str(root), "-e", str(root / "error.log"), "-c", str(config)],
                # nginx takes over listening sockets that it is told of so (meant for its binary
                # upgrades).
                env={"NGINX": f"{listener.fileno()};"},
                pass_fds=[listener.fileno()],
            )
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self.process.wait_until(lambda: answers(port) and self.request("GET", "/ready")[0] == 200)

    def bucket(self, prefix: str = "bucket") -> str:
        folder = tempfile.mkdtemp(prefix=f"{prefix}-", dir=self.folder)
        return Path(folder).name

    def forget_parts(self) -> None:
        """Remove the parts of uploads, which completing does not join."""
        shutil.rmtree(self.folder / ".parts")
        (self.folder / ".parts").mkdir()

    def close(self) -> None:
        self.process.stop()
        self._folder.cleanup()
