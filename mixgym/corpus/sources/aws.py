"""Reading the AWS service models that botocore carries."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

from mixgym.corpus.wheels import Wheels

_MODEL = re.compile(r"botocore/data/([^/]+)/([^/]+)/service-2\.json\.gz")


def models(wheels: Wheels) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every service's name and newest model."""
    wheel = wheels["botocore"]
    newest: dict[str, tuple[str, str]] = {}
    for member in sorted(wheel.namelist()):
        if match := _MODEL.fullmatch(member):
            service, version = match.groups()
            newest[service] = max(newest.get(service, ("", "")), (version, member))
    for service in sorted(newest):
        yield service, json.loads(gzip.decompress(wheel.read(newest[service][1])))
