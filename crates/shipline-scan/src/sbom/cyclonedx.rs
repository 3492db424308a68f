//! The packages of an image as a CycloneDX 1.5 document in JSON. It follows from the image and this version of Shipline alone:
//! no clock and no random number is in it.

use std::str::FromStr as _;

use cyclonedx_bom::external_models::uri::validate_purl;
use cyclonedx_bom::models::bom::BomReference;
use cyclonedx_bom::models::component::{
    Classification, ComponentEvidence, Occurrence, Occurrences,
};
use cyclonedx_bom::models::composition::{AggregateType, Composition, Compositions};
use cyclonedx_bom::models::license::{License, LicenseChoice, LicenseIdentifier, Licenses};
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::models::tool::Tools;
use cyclonedx_bom::prelude::{
    Bom, Component, Components, DateTime, Metadata, NormalizedString, Purl, SpdxExpression,
    SpdxIdentifier, SpecVersion, UrnUuid,
};
use sha2::{Digest as _, Sha256};
use shipline_engine::error::{BackendError, ErrorClass};

use crate::inventory::{Distribution, Inventory, Package, PackageKind, purl};

/// Media type of the document.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// The document of the image that people know as `name`.
///
/// # Errors
/// `Failed` where it cannot be written as JSON.
pub fn cyclonedx(name: &str, inventory: &Inventory) -> Result<Vec<u8>, BackendError> {
    let mut bytes = Vec::new();
    bom(name, inventory)
        .output_as_json_v1_5(&mut bytes)
        .map_err(|error| {
            BackendError::new(ErrorClass::Failed, format!("write the SBOM of {name}"))
                .because(error)
        })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn bom(name: &str, inventory: &Inventory) -> Bom {
    let image = image(name, inventory);
    // Where nothing says that files were left out, nothing is claimed: no cataloguer sees all that an image holds.
    let incomplete = (!inventory.notes.is_empty()).then(|| {
        Compositions(vec![Composition {
            bom_ref: None,
            aggregate: AggregateType::Incomplete,
            assemblies: image
                .bom_ref
                .as_ref()
                .map(|own| vec![BomReference::new(own)]),
            dependencies: None,
            vulnerabilities: None,
            signature: None,
        }])
    });
    let distribution = inventory.distribution.iter().map(distribution);
    let packages = inventory.packages.iter().map(package);
    Bom {
        version: 1,
        serial_number: Some(serial_number(name, inventory)),
        metadata: Some(Metadata {
            timestamp: inventory
                .created
                .clone()
                .and_then(|created| DateTime::try_from(created).ok()),
            tools: Some(Tools::Object {
                services: None,
                components: Some(Components(vec![Component::new(
                    Classification::Application,
                    "shipline",
                    env!("CARGO_PKG_VERSION"),
                    None,
                )])),
            }),
            component: Some(image),
            ..Metadata::default()
        }),
        components: Some(Components(distribution.chain(packages).collect())),
        services: None,
        external_references: None,
        dependencies: None,
        compositions: incomplete,
        properties: None,
        vulnerabilities: None,
        signature: None,
        annotations: None,
        formulation: None,
        spec_version: SpecVersion::V1_5,
    }
}

/// A UUID of version 8 (RFC 9562: by a hash of one's own choice) from all that decides the document.
fn serial_number(name: &str, inventory: &Inventory) -> UrnUuid {
    let known = format!("{} {name} {}", inventory.image, super::key());
    let hash = Sha256::digest(known.as_bytes());
    let mut id: [u8; 16] = std::array::from_fn(|at| hash[at]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    let hex = hex::encode(id);
    UrnUuid(format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

fn image(name: &str, inventory: &Inventory) -> Component {
    let digest = inventory.image.as_str();
    let last = name.rsplit('/').next().unwrap_or(name);
    let purl = purl("oci", None, last, Some(digest), None);
    let mut component = Component::new(Classification::Container, name, digest, Some(purl.clone()));
    component.purl = valid(&purl);
    component
}

fn distribution(distribution: &Distribution) -> Component {
    let Distribution { id, version, name } = distribution;
    let reference = format!("os:{id}@{}", version.as_deref().unwrap_or_default());
    let mut component = Component::new(Classification::OperatingSystem, id, "", Some(reference));
    component.version = version.as_deref().map(NormalizedString::new);
    component.description = name.as_deref().map(NormalizedString::new);
    component
}

fn package(package: &Package) -> Component {
    let purl = package.purl();
    let mut component = Component::new(
        Classification::Library,
        &package.name,
        "",
        Some(purl.clone()),
    );
    component.version = package.version.as_deref().map(NormalizedString::new);
    component.group = match package.kind {
        PackageKind::Npm | PackageKind::Maven | PackageKind::Composer => {
            package.namespace.as_deref()
        }
        // The distribution is no group, and is in the package's URL.
        PackageKind::Deb
        | PackageKind::Apk
        | PackageKind::Rpm
        | PackageKind::Pypi
        | PackageKind::Golang
        | PackageKind::Cargo
        | PackageKind::Gem
        | PackageKind::Nuget
        | PackageKind::Conda
        | PackageKind::Bitnami
        | PackageKind::Generic => None,
    }
    .map(NormalizedString::new);
    component.purl = valid(&purl);
    component.licenses = licences(&package.licences);
    let places = package.places.iter();
    let occurrences = places.map(|place| Occurrence::new(&place.path)).collect();
    component.evidence = Some(ComponentEvidence {
        licenses: None,
        copyright: None,
        occurrences: Some(Occurrences(occurrences)),
        callstack: None,
        identity: None,
    });
    let mut properties = Vec::new();
    for (index, place) in package.places.iter().enumerate() {
        if let Some(layer) = &place.layer {
            let name = format!("shipline:occurrence:{index}:layer");
            properties.push(Property::new(name, layer.as_str()));
        }
    }
    properties.extend(source(package));
    component.properties = (!properties.is_empty()).then_some(Properties(properties));
    component
}

/// What a package of the system was built from, in our words and in those that matchers of advisories look for: a distribution's
/// advisories name sources.
fn source(package: &Package) -> Vec<Property> {
    if !package.kind.is_of_a_system() {
        return Vec::new();
    }
    let mut properties = Vec::new();
    let mut add = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            properties.push(Property::new(name, value));
        }
    };
    let source = package.source.as_ref();
    let name = source.map(|source| source.name.as_str());
    let version = source.and_then(|source| source.version.as_deref());
    add("shipline:source:name", name);
    add("shipline:source:version", version);
    add("syft:metadata:source", name);
    add("syft:metadata:sourceVersion", version);
    // Trivy takes the parts of a version apart, and has them for packages that are their own source too.
    let full = version.or(package.version.as_deref()).unwrap_or_default();
    let (epoch, rest) = match full.split_once(':') {
        Some((epoch, rest)) => (Some(epoch), rest),
        None => (None, full),
    };
    let (upstream, release) = match rest.rsplit_once('-') {
        Some((upstream, release)) if package.kind != PackageKind::Apk => (upstream, Some(release)),
        Some(_) | None => (rest, None),
    };
    add("aquasecurity:trivy:PkgType", package.namespace.as_deref());
    add(
        "aquasecurity:trivy:SrcName",
        Some(name.unwrap_or(&package.name)),
    );
    add("aquasecurity:trivy:SrcVersion", Some(upstream));
    add("aquasecurity:trivy:SrcRelease", release);
    add("aquasecurity:trivy:SrcEpoch", epoch);
    properties
}

/// A URL as the document takes it; `None` where names are so odd that it is none.
fn valid(purl: &str) -> Option<Purl> {
    let purl = Purl::from_str(purl).ok()?;
    validate_purl(&purl).is_ok().then_some(purl)
}

/// One SPDX expression, or a list of licences by their SPDX identifiers or names: a document may hold either.
fn licences(texts: &[String]) -> Option<Licenses> {
    if let [text] = texts
        && SpdxIdentifier::try_from(text.clone()).is_err()
        && let Ok(expression) = SpdxExpression::try_from(text.clone())
    {
        return Some(Licenses(vec![LicenseChoice::Expression(expression)]));
    }
    let licences = texts.iter().map(|text| {
        let identifier = match SpdxIdentifier::try_from(text.clone()) {
            Ok(id) => LicenseIdentifier::SpdxId(id),
            Err(_) => LicenseIdentifier::Name(NormalizedString::new(text)),
        };
        let mut licence = License::named_license(text);
        licence.license_identifier = identifier;
        LicenseChoice::License(licence)
    });
    (!texts.is_empty()).then(|| Licenses(licences.collect()))
}
