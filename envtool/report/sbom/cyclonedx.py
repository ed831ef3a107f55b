"""A bill as CycloneDX 1.6, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from envtool import __version__
from envtool.report.sbom.document import Sbom, SbomLayer, SbomPackage, purl, to_one_line, valid_url


def render(bill: Sbom) -> str:
    """Returns the document as JSON."""
    env = Component(
        type=ComponentType.CONTAINER,
        name=to_one_line(bill.env),
        version=bill.digest[:16],
        bom_ref="env",
        properties=[
            Property(name="envtool:stack", value=f"sha256:{bill.digest}"),
            *(Property(name=f"envtool:layer:{number}", value=_layer(layer)) for number, layer in enumerate(bill.steps)),
        ],
    )
    base = bill.steps[0]
    base_component = Component(
        type=ComponentType.OPERATING_SYSTEM,
        name=to_one_line(bill.system) or to_one_line(base.kind),
        version=to_one_line(bill.release) or None,
        description=to_one_line(base.summary) or None,
        bom_ref="base",
        properties=[
            Property(name="envtool:base", value=to_one_line(f"{base.name} ({base.kind})")),
            Property(name="envtool:diff-id", value=base.diff_id),
            Property(name="envtool:pinned", value="true" if base.pinned else "false"),
        ],
    )
    components = [base_component, *(_component(item) for item in bill.items)]
    tool = Component(type=ComponentType.APPLICATION, name="envtool", version=__version__)
    metadata = BomMetaData(component=env, timestamp=bill.created)
    metadata.tools.components.add(tool)
    bom = Bom(serial_number=bill.identity, metadata=metadata, components=components)
    bom.register_dependency(env, components)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _layer(layer: SbomLayer) -> str:
    return to_one_line(f"{layer.name} ({layer.kind}) {layer.diff_id}")


def _component(item: SbomPackage) -> Component:
    package = item.package
    page = valid_url(package.homepage)
    url = purl(package)
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        group=package.namespace or None,
        version=package.version,
        description=to_one_line(package.summary) or None,
        purl=PackageURL.from_string(url),
        bom_ref=url,
        licenses=_licenses(package.licenses),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=item.sha256)] if item.sha256 else [],
        external_references=[ExternalReference(type=ExternalReferenceType.WEBSITE, url=XsUri(page))] if page else [],
        properties=[Property(name="envtool:path", value=to_one_line(path)) for path in item.paths],
    )


def _licenses(texts: Iterable[str]) -> list[License]:
    """Returns the licences. CycloneDX allows only one expression, and alone: beside others, an expression becomes a
    licence without an identifier."""
    factory = LicenseFactory()
    licenses = [factory.make_from_string(to_one_line(text)) for text in texts if to_one_line(text)]
    if len(licenses) == 1:
        return licenses
    return [
        DisjunctiveLicense(name=licence.value) if isinstance(licence, LicenseExpression) else licence
        for licence in licenses
    ]
