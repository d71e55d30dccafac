"""The start script of an EC2 machine: fetches the code from the asset bucket and runs the agent
under systemd.

Nothing comes from third parties: Python is Amazon Linux's own package, and everything else is in
the bundle, whose digest is in the template. The code is compiled once, because the service may not
write where it is: an import would cost twice the CPU at each start.
"""

from collections.abc import Mapping

from aws_cdk import Fn

from dth.infra import PYTHON

SCRIPT = """#!/bin/bash
set -euo pipefail
{exports}
modprobe tcp_bbr && sysctl -qw net.core.default_qdisc=fq net.ipv4.tcp_congestion_control=bbr || true
dnf install -q -y python{python}
useradd --system --no-create-home dth
install -d -o dth -g dth /var/lib/dth /opt/dth
BUNDLE=s3://${{assetBucket}}/${{assetPrefix}}/bundle-${{Architecture}}.tar.gz
aws s3 cp --only-show-errors $BUNDLE /opt/bundle.tar.gz
if [ -n "${{Digest}}" ] && ! echo "${{Digest}}  /opt/bundle.tar.gz" | sha256sum --check --strict --status; then
  echo "$BUNDLE is not what was published: its SHA-256 is not ${{Digest}}" >&2
  exit 1
fi
tar -xzf /opt/bundle.tar.gz -C /opt/dth
rm /opt/bundle.tar.gz
export PYTHONPATH=/opt/dth
export TMPDIR=/var/lib/dth
python{python} -m compileall -q -j 0 /opt/dth || true
env | grep -E '^(AWS|DTH)_|^PYTHONPATH=|^TMPDIR=' > /etc/dth.env
cat > /etc/systemd/system/dth.service <<UNIT
[Unit]
Description=Data Transfer Hub {kind}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
User=dth
EnvironmentFile=/etc/dth.env
WorkingDirectory=/var/lib/dth
ExecStart=/usr/bin/python{python} -m dth.compose.aws.agent {kind}
Restart=always
RestartSec=10
KillMode=mixed
TimeoutStopSec=130
LimitNOFILE=65536
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/var/lib/dth
[Install]
WantedBy=multi-user.target
UNIT
systemctl enable --now dth
"""


def user_data(kind: str, architecture: str, digest: str, environment: Mapping[str, str]) -> str:
    """Return the script of a "worker" or "finder", encoded for EC2.

    It runs only the bundle with this SHA-256. Values may be CloudFormation expressions.
    """
    values = {"Architecture": architecture, "Digest": digest} | {
        f"Value{number}": value for number, value in enumerate(environment.values())
    }
    exports = [f"export {name}='${{Value{number}}}'" for number, name in enumerate(environment)]
    script = SCRIPT.format(exports="\n".join(exports), python=PYTHON, kind=kind)
    return Fn.base64(Fn.sub(script, values))
