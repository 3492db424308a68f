//! Whole images: layers over layers, and the document of what is left.

use std::io;

use cyclonedx_bom::prelude::{Bom, SpecVersion, Validate};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use shipline_engine::backend::{Cataloguer as _, Looking, Sbom, Verified, Visitor};

use super::*;
use crate::layers::StoreReader;
use crate::sbom::{SbomWriter, cyclonedx};
use crate::testing::{GZIP_LAYER, Memory, TAR_LAYER, gzip, image, tar};

const OS: &[u8] = b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
const STATUS: &[u8] = b"Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nSource: zlib\nVersion: 1:1.2.13\n";

fn npm(name: &str, version: &str) -> Vec<u8> {
    format!(r#"{{"name":"{name}","version":"{version}","license":"MIT"}}"#).into_bytes()
}

/// A config with a diff ID for each layer: its number.
fn config(layers: usize) -> String {
    let ids: Vec<String> = (0..layers).map(|n| format!("\"sha256:{n:064}\"")).collect();
    format!(
        r#"{{"created":"1980-01-01T00:00:00Z","config":{{"Labels":{{"org.opencontainers.image.created":"2025-12-15T12:34:56Z"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
}

fn reader(scratch: &tempfile::TempDir) -> StoreReader {
    StoreReader::new(scratch.path().to_path_buf())
}

fn inventory_of(layers: &[Vec<u8>]) -> Inventory {
    let layers: Vec<(&str, Vec<u8>)> = layers
        .iter()
        .map(|layer| (TAR_LAYER, layer.clone()))
        .collect();
    let (store, digest) = image(&config(layers.len()), &layers);
    let scratch = tempfile::tempdir().unwrap();
    of_image(&digest, &store, &reader(&scratch), &mut |_| Ok(())).unwrap()
}

/// `name@version` of all packages.
fn names(layers: &[Vec<u8>]) -> Vec<String> {
    let packages = inventory_of(layers).packages.into_iter();
    packages
        .map(|package| format!("{}@{}", package.name, package.version.unwrap_or_default()))
        .collect()
}

fn special(kind: tar::EntryType, path: &str, target: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o755);
    if target.is_empty() {
        builder
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
    } else {
        builder.append_link(&mut header, path, target).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_later_layer_adds_replaces_and_deletes() {
    let (a1, a2, b) = (npm("a", "1.0.0"), npm("a", "2.0.0"), npm("b", "1.0.0"));
    let base = tar(&[
        ("app/node_modules/a/package.json", &a1),
        ("./app/node_modules/b/package.json", &b),
        ("usr/share/node_modules/c/package.json", &npm("c", "3.0.0")),
    ]);
    assert_eq!(
        names(std::slice::from_ref(&base)),
        ["a@1.0.0", "b@1.0.0", "c@3.0.0"]
    );
    let check = |top: Vec<u8>, expected: &[&str]| {
        assert_eq!(names(&[base.clone(), top]), expected);
    };
    check(
        tar(&[("app/node_modules/a/package.json", &a2)]),
        &["a@2.0.0", "b@1.0.0", "c@3.0.0"],
    );
    check(
        tar(&[("app/node_modules/.wh.a", b"")]),
        &["b@1.0.0", "c@3.0.0"],
    );
    check(tar(&[("app/.wh.node_modules", b"")]), &["c@3.0.0"]);
    check(tar(&[(".wh.app", b"")]), &["c@3.0.0"]);
    check(
        tar(&[("app/node_modules/b/.wh.package.json", b"")]),
        &["a@1.0.0", "c@3.0.0"],
    );
    // An opaque folder hides what lies below, and not what its own layer puts there, in whatever order.
    for own in [true, false] {
        let mut files: Vec<(&str, &[u8])> = vec![("app/node_modules/.wh..wh..opq", b"")];
        files.insert(usize::from(own), ("app/node_modules/a/package.json", &a2));
        check(tar(&files), &["a@2.0.0", "c@3.0.0"]);
    }
    check(tar(&[(".wh..wh..opq", b"")]), &[]);
    // So does a file or a link in the place of a folder; a folder over a folder is one.
    check(tar(&[("app", b"no folder")]), &["c@3.0.0"]);
    check(
        special(tar::EntryType::Symlink, "app/node_modules", "/elsewhere"),
        &["c@3.0.0"],
    );
    check(
        special(tar::EntryType::Directory, "app/node_modules/", ""),
        &["a@1.0.0", "b@1.0.0", "c@3.0.0"],
    );
    // Names that only begin alike are others.
    check(
        tar(&[("ap", b""), ("app/node_modules/.wh.", b"")]),
        &["a@1.0.0", "b@1.0.0", "c@3.0.0"],
    );
}

#[test]
fn a_name_without_end_is_an_error_and_no_memory() {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut layer = header.as_bytes().to_vec();
    layer.resize(64 * 1024 * 1024, b'a');
    let (store, digest) = image(&config(1), &[(GZIP_LAYER, gzip(&layer))]);
    let scratch = tempfile::tempdir().unwrap();
    let error = of_image(&digest, &store, &reader(&scratch), &mut |_| Ok(())).unwrap_err();
    let cause = error.cause.unwrap().to_string();
    assert!(cause.contains("header is too large"), "{cause}");
    // A large file is no header, whether somebody reads it or not.
    let large = vec![b'a'; 20 * 1024 * 1024];
    let a = npm("a", "1.0.0");
    assert_eq!(
        names(&[tar(&[
            ("large", &large),
            ("large.jar", &large),
            ("node_modules/a/package.json", &a)
        ])]),
        ["a@1.0.0"]
    );
}

#[test]
fn an_image_of_a_stranger_is_what_its_documents_say() {
    let other = gzip(&tar(&[("other", b"")]));
    let tar = tar(&[("node_modules/a/package.json", &npm("a", "1.0.0"))]);
    let config = |diff_ids: &[&[u8]]| {
        let ids = diff_ids
            .iter()
            .map(|bytes| format!("\"sha256:{}\"", hex::encode(Sha256::digest(bytes))));
        let ids = ids.collect::<Vec<_>>().join(",");
        format!(r#"{{"rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#)
    };
    let look = |config: &str, verified, change: &dyn Fn(&mut Memory)| {
        let (mut store, digest) = image(config, &[(GZIP_LAYER, gzip(&tar))]);
        store.verified = Some(verified);
        change(&mut store);
        let scratch = tempfile::tempdir().unwrap();
        match of_image(&digest, &store, &reader(&scratch), &mut |_| Ok(())) {
            Ok(found) => format!("{} packages", found.packages.len()),
            Err(error) => {
                let said = error.to_string();
                format!("{said}: {}", error.cause.unwrap())
            }
        }
    };
    let put = |store: &mut Memory, layer: bool, bytes: &[u8]| {
        let manifest = store.manifest.lock().unwrap().clone().unwrap();
        let digest = if layer {
            &manifest.layers[0].digest
        } else {
            &manifest.config.digest
        };
        let bytes = bytes.to_vec();
        store.blobs.lock().unwrap().insert(digest.clone(), bytes);
    };
    let (right, wrong) = (config(&[&tar]), config(&[b"x"]));
    let none: &dyn Fn(&mut Memory) = &|_| {};
    let size: &dyn Fn(&mut Memory) =
        &|store| store.manifest.lock().unwrap().as_mut().unwrap().layers[0].size += 1;
    for verified in [Verified::Manifests, Verified::ManifestsByContent] {
        assert_eq!(look(&right, verified, none), "1 packages");
        for (config, change, why) in [
            (&wrong, none, "its content has the digest"),
            (&config(&[&tar, &tar]), none, "lists 2 layers"),
            (&config(&[]), none, "lists 0 layers"),
            (
                &right,
                &|store: &mut Memory| put(store, false, b"{}"),
                "it has the digest",
            ),
            (
                &right,
                &|store: &mut Memory| put(store, true, &other),
                "(the image's layer 1): its ",
            ),
        ] as [(&String, &dyn Fn(&mut Memory), &str); 5]
        {
            let said = look(config, verified, change);
            assert!(said.contains(why), "{said}: {why}");
        }
    }
    let said = look(&right, Verified::Manifests, size);
    assert!(said.contains("and the manifest says"), "{said}");
    // What was verified when it was taken in is not verified each time.
    assert_eq!(look(&wrong, Verified::WhenTaken, none), "1 packages");
}

#[test]
fn more_packages_than_any_image_has_are_left_out_and_told() {
    let status: String = (0..100_002)
        .map(|n| format!("Package: p{n}\nVersion: 1\n\n"))
        .collect();
    let a = npm("a", "1.0.0");
    let found = inventory_of(&[tar(&[
        ("var/lib/dpkg/status", status.as_bytes()),
        ("node_modules/a/package.json", &a),
    ])]);
    assert_eq!(found.packages.len(), 100_000);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    assert!(found.notes[0].ends_with("the image has more than 100000 packages"));
}

#[test]
fn a_hard_link_is_the_file_that_it_names() {
    let mut layer = tar(&[("app/node_modules/a/package.json", &npm("a", "1.0.0"))]);
    // Without the two empty blocks that end an archive, the next one goes on.
    layer.truncate(layer.len() - 1024);
    layer.extend(special(
        tar::EntryType::Link,
        "copy/node_modules/a/package.json",
        "app/node_modules/a/package.json",
    ));
    let top = tar(&[(".wh.app", b"")]);
    let found = inventory_of(&[layer, top]);
    assert_eq!(found.packages.len(), 1);
    assert_eq!(
        found.packages[0].places[0].path,
        "/copy/node_modules/a/package.json"
    );
}

#[test]
fn a_package_is_listed_once_with_all_its_places() {
    let a = npm("a", "1.0.0");
    let found = inventory_of(&[
        tar(&[("etc/os-release", OS), ("var/lib/dpkg/status", STATUS)]),
        tar(&[
            ("x/node_modules/a/package.json", &a),
            ("y/node_modules/a/package.json", &a),
        ]),
    ]);
    let purls: Vec<String> = found.packages.iter().map(Package::purl).collect();
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/zlib1g@1:1.2.13?arch=amd64&distro=debian-12&upstream=zlib",
            "pkg:npm/a@1.0.0"
        ]
    );
    let places: Vec<_> = found.packages[1]
        .places
        .iter()
        .map(|place| (place.path.as_str(), place.layer.as_ref().unwrap().as_str()))
        .collect();
    let layer = format!("sha256:{:064}", 1);
    assert_eq!(
        places,
        [
            ("/x/node_modules/a/package.json", layer.as_str()),
            ("/y/node_modules/a/package.json", layer.as_str())
        ]
    );
}

#[test]
fn malformed_data_costs_a_note_and_nothing_else() {
    let broken = b"{\"name\":";
    let mut files: Vec<(String, Vec<u8>)> = (0..7)
        .map(|n| {
            (
                format!("app/node_modules/n{n}/package.json"),
                broken.to_vec(),
            )
        })
        .collect();
    files.push((
        "app/node_modules/a/package.json".to_owned(),
        npm("a", "1.0.0"),
    ));
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    let found = inventory_of(&[tar(&files)]);
    assert_eq!(found.packages.len(), 1);
    assert_eq!(found.notes.len(), 6);
    assert!(
        found.notes[0].starts_with("/app/node_modules/n0/package.json was read in part: "),
        "{:?}",
        found.notes
    );
    assert_eq!(found.notes[5], "and so were 2 more files");
    // The document says so too.
    let document = String::from_utf8(cyclonedx("x", &found).unwrap()).unwrap();
    assert!(document.contains("\"incomplete\""), "{document}");
}

fn whole() -> (Memory, Digest) {
    let base = tar(&[("etc/os-release", OS), ("var/lib/dpkg/status", STATUS)]);
    let top = tar(&[
        ("app/node_modules/@s/a/package.json", &npm("@s/a", "1.0.0")),
        (
            "app/node_modules/b/package.json",
            br#"{"name":"b","version":"2","license":"(MIT OR Apache-2.0)"}"#,
        ),
        (
            "app/node_modules/c/package.json",
            br#"{"name":"c","version":"3","licenses":["SEE LICENSE IN x","ISC"]}"#,
        ),
    ]);
    image(
        &config(2),
        &[(GZIP_LAYER, gzip(&base)), (GZIP_LAYER, gzip(&top))],
    )
}

fn write(image: &(Memory, Digest)) -> Sbom {
    write_as("shop/frontend", image, &mut |_| Ok(())).unwrap()
}

fn write_as(
    name: &str,
    (store, digest): &(Memory, Digest),
    step: &mut Step<'_>,
) -> Result<Sbom, BackendError> {
    let scratch = tempfile::tempdir().unwrap();
    match SbomWriter.catalogue(name, digest)? {
        Looking::Done(sbom) => Ok(sbom),
        Looking::AtFiles(mut look) => {
            let visitors: &mut [&mut dyn Visitor] = &mut [&mut *look];
            reader(&scratch).show(digest, store, visitors, step)?;
            look.finish()
        }
    }
}

#[test]
fn the_document_is_valid_and_says_what_was_found() {
    let image = whole();
    let sbom = write(&image);
    assert_eq!(sbom.packages, 4);
    assert_eq!(sbom.notes, Vec::<String>::new());
    let bom = Bom::parse_from_json_v1_5(&sbom.document.bytes[..]).unwrap();
    let verdict = bom.validate_version(SpecVersion::V1_5);
    assert!(verdict.passed(), "{verdict:?}");

    let document: serde_json::Value = serde_json::from_slice(&sbom.document.bytes).unwrap();
    let at = |pointer: &str| {
        document
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer}"))
    };
    assert_eq!(at("/metadata/timestamp"), "2025-12-15T12:34:56Z");
    assert_eq!(at("/metadata/component/name"), "shop/frontend");
    assert_eq!(at("/metadata/component/version"), image.1.as_str());
    assert_eq!(
        at("/metadata/component/purl").as_str().unwrap(),
        format!("pkg:oci/frontend@{}", image.1)
    );
    let components = at("/components").as_array().unwrap();
    let purls: Vec<&str> = components
        .iter()
        .filter_map(|component| component["purl"].as_str())
        .collect();
    assert_eq!(
        purls,
        [
            "pkg:deb/debian/zlib1g@1:1.2.13?arch=amd64&distro=debian-12&upstream=zlib",
            "pkg:npm/b@2",
            "pkg:npm/c@3",
            "pkg:npm/%40s/a@1.0.0",
        ]
    );
    assert_eq!(components[0]["type"], "operating-system");
    assert_eq!(components[1]["properties"][1]["value"], "zlib");
    assert_eq!(
        components[2]["licenses"][0]["expression"],
        "(MIT OR Apache-2.0)"
    );
    assert_eq!(
        components[3]["licenses"][0]["license"]["name"],
        "SEE LICENSE IN x"
    );
    assert_eq!(components[3]["licenses"][1]["license"]["id"], "ISC");
    assert_eq!(components[4]["group"], "@s");
    assert_eq!(
        components[4]["evidence"]["occurrences"][0]["location"],
        "/app/node_modules/@s/a/package.json"
    );
}

#[test]
fn licences_of_debian_packages_and_their_sources_are_in_the_document() {
    let status = b"Package: gcc-12-base\nStatus: install ok installed\nSource: gcc-12\nVersion: 12.2.0-14\n\nPackage: libgcc-s1\nStatus: install ok installed\nArchitecture: amd64\nSource: gcc-12\nVersion: 12.2.0-14\n\nPackage: bare\nVersion: 1\n";
    let found = inventory_of(&[
        tar(&[
            ("etc/os-release", OS),
            (
                "usr/share/doc/gcc-12-base/copyright",
                b"See /usr/share/common-licenses/GPL-3.\n",
            ),
            ("usr/share/doc/bare/copyright", b"Format: x\nLicense: MIT\n"),
            ("var/lib/dpkg/status", status),
        ]),
        // A licence of a package that is listed no more is nobody's.
        tar(&[("usr/share/doc/gone/copyright", b"Format: x\nLicense: ISC\n")]),
    ]);
    let licences: Vec<(&str, Vec<String>)> = found
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package.licences.clone()))
        .collect();
    let gpl = vec!["GPL-3".to_owned()];
    assert_eq!(
        licences,
        [
            ("bare", vec!["MIT".to_owned()]),
            ("gcc-12-base", gpl.clone()),
            ("libgcc-s1", gpl)
        ]
    );
    let document: serde_json::Value =
        serde_json::from_slice(&cyclonedx("x", &found).unwrap()).unwrap();
    let of = |component: usize, name: &str| {
        let properties = document["components"][component]["properties"]
            .as_array()
            .unwrap();
        let found = properties.iter().find(|property| property["name"] == name);
        found.map(|property| property["value"].as_str().unwrap().to_owned())
    };
    // Component 0 is the distribution.
    for (name, value) in [
        ("syft:metadata:source", "gcc-12"),
        ("aquasecurity:trivy:PkgType", "debian"),
        ("aquasecurity:trivy:SrcName", "gcc-12"),
        ("aquasecurity:trivy:SrcVersion", "12.2.0"),
        ("aquasecurity:trivy:SrcRelease", "14"),
    ] {
        assert_eq!(of(3, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(of(1, "aquasecurity:trivy:SrcName").as_deref(), Some("bare"));
    assert_eq!(of(1, "aquasecurity:trivy:SrcRelease"), None);
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let (first, again) = (write(&whole()), write(&whole()));
    assert_eq!(first, again);
    let serial = |sbom: &Sbom| {
        let document: serde_json::Value = serde_json::from_slice(&sbom.document.bytes).unwrap();
        document["serialNumber"].as_str().unwrap().to_owned()
    };
    let other = write_as("other", &whole(), &mut |_| Ok(())).unwrap();
    assert_ne!(serial(&first), serial(&other));
}

#[test]
fn a_task_that_is_stopped_stops_the_walk() {
    let mut stop = |_| Err(io::Error::other("the task was stopped"));
    let stopped = write_as("x", &whole(), &mut stop).unwrap_err();
    assert_eq!(stopped.cause.unwrap().to_string(), "the task was stopped");
}

/// Paths that some cataloguer wants, and one that none does.
const PLACES: [&str; 24] = [
    "etc/os-release",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/x",
    "lib/apk/db/installed",
    "app/node_modules/x/package.json",
    "app/x.dist-info/METADATA",
    "app/x.egg-info",
    "app/x-1.0.jar",
    "app/x.war",
    "app/x.egg",
    "usr/share/doc/x/copyright",
    "var/lib/rpm/Packages",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "var/lib/rpmmanifest/container-manifest-2",
    "app/vendor/composer/installed.json",
    "gems/specifications/x.gemspec",
    "app/x.deps.json",
    "conda/conda-meta/x.json",
    "app/x.cdx.json",
    "app/x.spdx",
    "app/x.dist-info/sboms/x.json",
    "usr/bin/x",
    "app/notes.txt",
];

/// What each format begins with, so that random bytes get further than its first check.
fn beginning() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![
        Vec::new(),
        b"Package: a\nVersion: 1\n".to_vec(),
        b"P:a\nV:1\n".to_vec(),
        b"Name: a\nVersion: 1\n".to_vec(),
        br#"{"name":"a","version":"1","license":"#.to_vec(),
        b"ID=debian\n".to_vec(),
        br#"{"bomFormat":"CycloneDX","components":[{"purl":"pkg:npm/a@1"}"#.to_vec(),
        br#"{"libraries":{"A/1":{"type":"package"}"#.to_vec(),
        br#"[{"name":"a/b","version":"1"}"#.to_vec(),
        b"License: MIT\nFormat: x\n".to_vec(),
        super::zip::tests::zip(&[(
            "META-INF/MANIFEST.MF",
            b"Bundle-Version: 1\n",
            super::zip::tests::Packing::Deflated,
        )]),
        super::elf::tests::elf(
            super::elf::tests::ALL[0],
            &[
                (".go.buildinfo", b"\xff Go buildinf:\x08\x02"),
                (".dep-v0", b"x"),
            ],
        )
        .0,
    ])
}

proptest! {
    #[test]
    fn any_bytes_in_any_place_give_a_valid_document(
        place in prop::sample::select(PLACES.to_vec()),
        start in beginning(),
        rest in prop::collection::vec(any::<u8>(), 0..400),
        flip in any::<prop::sample::Index>(),
    ) {
        let mut bytes = start;
        bytes.extend(rest);
        if !bytes.is_empty() {
            let at = flip.index(bytes.len());
            bytes[at] ^= 0x55;
        }
        let found = inventory_of(&[tar(&[(place, &bytes)])]);
        let document = cyclonedx("x", &found).unwrap();
        let bom = Bom::parse_from_json_v1_5(&document[..]).unwrap();
        prop_assert!(bom.validate_version(SpecVersion::V1_5).passed());
    }

    #[test]
    fn any_names_give_a_valid_document(
        name in "[^\\x00-\\x1f]{1,30}",
        version in "[^\\x00-\\x1f]{1,30}",
        licence in "[^\\x00-\\x1f]{0,30}",
    ) {
        let json = serde_json::json!({ "name": name, "version": version, "license": licence });
        let json = json.to_string();
        let control = format!("Package: {name}\nVersion: {version}\nSource: {name} ({version})\nArchitecture: {name}\n");
        let found = inventory_of(&[tar(&[
            ("node_modules/x/package.json", json.as_bytes()),
            ("etc/os-release", format!("ID={name}\nVERSION_ID={version}\n").as_bytes()),
            ("var/lib/dpkg/status", control.as_bytes()),
        ])]);
        let document = cyclonedx(&name, &found).unwrap();
        let bom = Bom::parse_from_json_v1_5(&document[..]).unwrap();
        let verdict = bom.validate_version(SpecVersion::V1_5);
        prop_assert!(verdict.passed(), "{:?}", verdict);
    }
}
