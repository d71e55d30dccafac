"""An example: a hub in a stack of its own. `python app.py FILE` writes it into cdk.out.

FILE is the template of the hub: aws s3 cp s3://BUCKET/PREFIX/templates/hub.json .
"""

import sys
from pathlib import Path

import aws_cdk as cdk
from data_transfer_hub import DataTransferHub

app = cdk.App(analytics_reporting=False)
stack = cdk.Stack(app, "dth", synthesizer=cdk.BootstraplessSynthesizer())
hub = DataTransferHub(
    stack, "Hub", template=Path(sys.argv[1]), parameters={"adminEmail": "you@example.org"}
)
app.synth()
