"""A bill as SPDX 2.3, JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from license_expression import ExpressionError, get_spdx_licensing  # type: ignore[import-untyped]
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model.actor import Actor, ActorType
from spdx_tools.spdx.model.checksum import Checksum, ChecksumAlgorithm
from spdx_tools.spdx.model.document import CreationInfo, Document
from spdx_tools.spdx.model.package import ExternalPackageRef, ExternalPackageRefCategory, Package, PackagePurpose
from spdx_tools.spdx.model.relationship import Relationship, RelationshipType
from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

from envtool import __version__
from envtool.report.sbom.document import Sbom, SbomPackage, purl, to_one_line, valid_url

DOCUMENT_ID = "SPDXRef-DOCUMENT"
ENV_ID = "SPDXRef-env"
BASE_ID = "SPDXRef-base"


def render(bill: Sbom) -> str:
    """Returns the document as JSON."""
    converter = DocumentConverter()  # type: ignore[no-untyped-call]
    document = converter.convert(build_document(bill))
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def build_document(bill: Sbom) -> Document:
    """Returns the document as the library's own value, which the library can validate."""
    no_assertion = SpdxNoAssertion()
    layers = "\n".join(to_one_line(f"{layer.name} ({layer.kind}) {layer.diff_id}") for layer in bill.steps)
    base = bill.steps[0]
    packages = [
        Package(
            spdx_id=ENV_ID,
            name=to_one_line(bill.env),
            version=f"sha256:{bill.digest}",
            download_location=no_assertion,
            files_analyzed=False,
            primary_package_purpose=PackagePurpose.CONTAINER,
            comment=f"layers, bottom first:\n{layers}",
        ),
        Package(
            spdx_id=BASE_ID,
            name=to_one_line(bill.system) or to_one_line(base.kind),
            version=to_one_line(bill.release) or None,
            download_location=no_assertion,
            files_analyzed=False,
            primary_package_purpose=PackagePurpose.OPERATING_SYSTEM,
            summary=to_one_line(base.summary) or None,
            comment=to_one_line(f"{base.name} ({base.kind}) {base.diff_id}{'' if base.pinned else ', not pinned'}"),
        ),
        *(_package(item) for item in bill.items),
    ]
    contained = [
        Relationship(ENV_ID, RelationshipType.CONTAINS, package.spdx_id)
        for package in packages
        if package.spdx_id != ENV_ID
    ]
    return Document(
        creation_info=CreationInfo(
            spdx_version="SPDX-2.3",
            spdx_id=DOCUMENT_ID,
            name=to_one_line(bill.env),
            document_namespace=f"urn:uuid:{bill.identity}",
            creators=[Actor(ActorType.TOOL, f"envtool-{__version__}")],
            created=bill.created.replace(tzinfo=None),
        ),
        packages=packages,
        relationships=[Relationship(DOCUMENT_ID, RelationshipType.DESCRIBES, ENV_ID), *contained],
    )


def _package(item: SbomPackage) -> Package:
    package = item.package
    no_assertion = SpdxNoAssertion()
    url = purl(package)
    declared = _license(package.licenses)
    license_text = ", ".join(to_one_line(text) for text in package.licenses)
    return Package(
        spdx_id=_identifier(package.name, url),
        name=package.display_name,
        version=package.version,
        download_location=no_assertion,
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, item.sha256)] if item.sha256 else [],
        homepage=valid_url(package.homepage) or None,
        license_concluded=no_assertion,
        license_declared=declared if declared is not None else no_assertion,
        license_comment=license_text if license_text and declared is None else None,
        copyright_text=no_assertion,
        summary=to_one_line(package.summary) or None,
        comment="\n".join(to_one_line(path) for path in item.paths),
        external_references=[ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", url)],
    )


def _identifier(name: str, url: str) -> str:
    return f"SPDXRef-{re.sub('[^A-Za-z0-9.-]', '-', name)}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"


def _license(texts: Sequence[str]) -> Any:
    """Returns all licences as one SPDX expression; None if one is no valid SPDX expression."""
    licensing = get_spdx_licensing()
    try:
        expressions = [licensing.parse(text, validate=True, strict=True) for text in texts]
    except (ExpressionError, AttributeError, TypeError):
        return None
    expressions = [expression for expression in expressions if expression is not None]
    if not expressions:
        return None
    return expressions[0] if len(expressions) == 1 else licensing.AND(*expressions)
