"""The start script of an EC2 machine: fetches the code from the asset bucket and runs the agent
under systemd.

Nothing comes from third parties: Python is Amazon Linux's own package, and everything else is in
the bundle, whose digest is in the template. The code is compiled once, because the service may not
write where it is: an import would cost twice the CPU at each start.

What may be missing for a while is tried again. A machine that still does not come up says why, in
the task's log group, on its console, and to the controller of the task (`platforms.aws.machines`),
and ends, so that its group starts another.
"""

from collections.abc import Mapping

from aws_cdk import Fn

from dth.infra import PYTHON

SCRIPT = """#!/bin/bash
set -euo pipefail
{exports}
LOG=/var/log/dth-boot.log
exec > >(tee $LOG) 2>&1
give_up() {{
  # The last line may not be in the file yet.
  sleep 1
  INSTANCE=$(cat /var/lib/cloud/data/instance-id)
  WHY="Data Transfer Hub: the machine $INSTANCE did not come up: $(tail -n 1 $LOG)"
  echo "$WHY"
  echo "$WHY" > /dev/console
  EVENTS=$(python3 -c 'import json, sys, time
print(json.dumps([{{"timestamp": int(time.time() * 1000), "message": sys.argv[1]}}]))' "$WHY")
  aws logs create-log-stream --region $DTH_REGION --log-group-name $DTH_LOG_GROUP --log-stream-name boot/$INSTANCE
  aws logs put-log-events --region $DTH_REGION --log-group-name $DTH_LOG_GROUP --log-stream-name boot/$INSTANCE \
    --log-events "$EVENTS"
  ITEM=$(python3 -c 'import json, sys, time
now = str(int(time.time()))
texts = dict(zip(("pk", "sk", "kind", "failed"), ("machine", *sys.argv[1:])))
print(json.dumps({{name: {{"S": text}} for name, text in texts.items()}} | {{"at": {{"N": now}}}}))' \
    $INSTANCE {kind} "$WHY")
  aws dynamodb put-item --region $DTH_REGION --table-name $DTH_STATE_TABLE --item "$ITEM"
  # The next machine is not likely to do better at once.
  shutdown -h +5
}}
trap 'if [ $? != 0 ]; then set +e; give_up; fi' EXIT
PAUSES="5 15 45 90"
retry() {{
  for PAUSE in $PAUSES; do
    "$@" && return
    sleep $PAUSE
  done
  "$@"
}}
modprobe tcp_bbr && sysctl -qw net.core.default_qdisc=fq net.ipv4.tcp_congestion_control=bbr || true
retry dnf install -q -y python{python}
useradd --system --no-create-home dth
install -d -o dth -g dth /var/lib/dth /opt/dth
BUNDLE=s3://${{assetBucket}}/${{assetPrefix}}/bundle-${{Architecture}}.tar.gz
retry aws s3 cp --only-show-errors $BUNDLE /opt/bundle.tar.gz
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
