//! Maven artifacts: `pom.properties` anywhere in jars and in the jars inside them, `META-INF/maven/**/pom.xml`, and for a jar that has
//! none of its own its manifest and its path.

mod artifact;
mod pom;

use std::io::{self, Cursor};

use super::super::zip::{Archive, Entry, MOST_ENTRIES};
use super::{MOST_PACKAGES, Reader, Told, file_name};
use crate::layers::spool::Content;
use artifact::Artifact;

/// Endings of Java archives.
const ENDINGS: &[&str] = &[
    "jar", "war", "ear", "par", "sar", "nar", "jpi", "hpi", "kar", "lpkg",
];
/// Jars in jars in jars are looked into this deep.
const DEEPEST: usize = 4;
/// So many archives are looked into for one file of an image.
const MOST_ARCHIVES: usize = 2_000;
/// A compressed archive inside another one is unpacked into memory up to this many bytes.
const LARGEST_NESTED: u64 = 64 * 1024 * 1024;
/// What is read of one file of an image, in unpacked bytes, however often parts of it lie in each other.
const LARGEST_SUM: u64 = 1024 * 1024 * 1024;
/// Properties and manifests, in bytes.
const LARGEST_TEXT: u64 = 1024 * 1024;
/// Notes on one file of an image.
const MOST_NOTES: usize = 10;

const MANIFEST: &str = "META-INF/MANIFEST.MF";

pub(super) const READER: Reader = Reader::Archive {
    wants: is_archive,
    read,
};

fn is_archive(path: &str) -> bool {
    match file_name(path).rsplit_once('.') {
        Some((_, ending)) => ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known)),
        None => false,
    }
}

fn read(path: &str, content: &mut dyn Content) -> Told {
    let mut look = Look {
        told: Told::default(),
        archives: 0,
        unpacked: 0,
    };
    look.archive(path, content, 1);
    look.told
}

/// One look into one file of an image.
struct Look {
    told: Told,
    archives: usize,
    unpacked: u64,
}

impl Look {
    fn note(&mut self, path: &str, why: &dyn std::fmt::Display) {
        if self.told.notes.len() < MOST_NOTES {
            let note = format!("{}: {why}", file_name(path));
            self.told.notes.push(note);
        }
    }

    /// A file's bytes, as far as all that is read of this one allows.
    fn unpack(
        &mut self,
        archive: &mut Archive<'_>,
        entry: &Entry,
        largest: u64,
    ) -> io::Result<Vec<u8>> {
        let room = largest.min(LARGEST_SUM.saturating_sub(self.unpacked));
        let read = archive.read(entry, room);
        // One that is too large was read up to there.
        self.unpacked += read.as_ref().map_or(room, |bytes| bytes.len() as u64);
        read
    }

    fn archive(&mut self, path: &str, content: &mut dyn Content, depth: usize) {
        self.archives += 1;
        if self.archives > MOST_ARCHIVES {
            if self.archives == MOST_ARCHIVES + 1 {
                self.note(path, &"it and others are too many archives in one");
            }
            return;
        }
        let mut archive = match Archive::open(content) {
            Ok(archive) => archive,
            Err(error) => return self.note(path, &error),
        };
        self.unpacked += archive.directory_length();
        if self.unpacked > LARGEST_SUM || self.told.packages.len() > MOST_PACKAGES {
            return self.note(path, &"it and others are too large together");
        }
        let mut artifacts: Vec<Artifact> = Vec::new();
        let mut poms = Vec::new();
        let mut manifest = None;
        let wanted = |name: &str| {
            is_properties(name) || is_pom(name) || name == MANIFEST || is_archive(name)
        };
        let entries = archive.entries(wanted);
        if entries.len() == MOST_ENTRIES {
            self.note(path, &"it has too many archives and properties");
        }
        for entry in entries {
            if is_archive(&entry.name) {
                self.nested(&mut archive, &entry, depth);
                continue;
            }
            match self.unpack(&mut archive, &entry, LARGEST_TEXT) {
                Ok(bytes) if entry.name == MANIFEST => manifest = Some(bytes),
                Ok(bytes) if is_pom(&entry.name) => poms.extend(Artifact::of_pom(&bytes)),
                Ok(bytes) => artifacts.extend(Artifact::of_properties(&entry.name, &bytes)),
                Err(error) => self.note(&entry.name, &error),
            }
        }
        for pom in poms {
            match artifacts.iter_mut().find(|known| known.is(&pom)) {
                Some(known) => known.licences = pom.licences,
                None => artifacts.push(pom),
            }
        }
        let own = manifest.and_then(|manifest| Artifact::of_manifest(file_name(path), &manifest));
        let mut own = match (Artifact::of_path(path), own) {
            (Some(mut placed), own) => {
                placed.licences = own.map(|own| own.licences).unwrap_or_default();
                Some(placed)
            }
            (None, own) => own,
        };
        // The jar's own properties say the same, and better; those that are alone are its own, whatever its file is called.
        if let Some(manifest) = &own {
            let alone = artifacts.len() == 1;
            let known = artifacts
                .iter_mut()
                .find(|known| alone || known.name == manifest.name);
            if let Some(known) = known {
                if known.licences.is_empty() {
                    known.licences.clone_from(&manifest.licences);
                }
                own = None;
            }
        }
        let packages = artifacts.iter().chain(&own).filter_map(Artifact::package);
        self.told.packages.extend(packages);
    }

    fn nested(&mut self, archive: &mut Archive<'_>, entry: &Entry, depth: usize) {
        if depth == DEEPEST {
            return self.note(&entry.name, &"it lies too deep in others");
        }
        let looked = (|| -> io::Result<()> {
            if let Some(mut window) = archive.stored(entry)? {
                self.archive(&entry.name, &mut window, depth + 1);
                return Ok(());
            }
            let bytes = self.unpack(archive, entry, LARGEST_NESTED)?;
            self.archive(&entry.name, &mut Cursor::new(bytes), depth + 1);
            Ok(())
        })();
        if let Err(error) = looked {
            self.note(&entry.name, &error);
        }
    }
}

/// Wherever they stand: what repackages jars moves them (`WEB-INF/classes/META-INF/maven/…`), and nobody else calls a file so.
fn is_properties(name: &str) -> bool {
    file_name(name) == "pom.properties"
}

/// Other files of this name are templates and examples.
fn is_pom(name: &str) -> bool {
    let own = name.starts_with("META-INF/maven/") || name.contains("/META-INF/maven/");
    own && name.ends_with("/pom.xml")
}

#[cfg(test)]
mod tests {
    use super::super::super::package::Package;
    use super::super::super::zip::tests::Packing::{self, Deflated, Stored};
    use super::super::super::zip::tests::zip;
    use super::*;

    fn pom(group: &str, name: &str, version: &str) -> (String, String) {
        (
            format!("META-INF/maven/{group}/{name}/pom.properties"),
            format!(
                "#Created by Maven\r\nversion={version}\r\ngroupId={group}\r\nartifactId={name}\r\n"
            ),
        )
    }

    fn jar(poms: &[(String, String)], more: &[(&str, &[u8], Packing)]) -> Vec<u8> {
        let mut files: Vec<(&str, &[u8], Packing)> = poms
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_bytes(), Deflated))
            .collect();
        files.extend(more);
        zip(&files)
    }

    fn purls(path: &str, archive: Vec<u8>) -> Vec<String> {
        let told = read(path, &mut Cursor::new(archive));
        assert_eq!(told.notes, Vec::<String>::new());
        told.packages.iter().map(Package::purl).collect()
    }

    #[test]
    fn a_jar_is_what_its_properties_say() {
        let manifest = b"Manifest-Version: 1.0\r\nImplementation-Version: 9\r\n\r\n";
        let one = pom("org.slf4j", "slf4j-api", "2.0.9");
        let two = pom("com.google.guava", "guava", "32.1.3-jre");
        let shaded = jar(&[one, two], &[(MANIFEST, manifest, Deflated)]);
        assert_eq!(
            purls("app/slf4j-api-2.0.9.jar", shaded.clone()),
            [
                "pkg:maven/org.slf4j/slf4j-api@2.0.9",
                "pkg:maven/com.google.guava/guava@32.1.3-jre"
            ]
        );
        let alone = jar(
            &[pom("org.example", "annotation_1.3_spec", "1.3")],
            &[(MANIFEST, manifest, Deflated)],
        );
        assert_eq!(
            purls("annotation-1.3-spec.jar", alone),
            ["pkg:maven/org.example/annotation_1.3_spec@1.3"]
        );
        // One that only holds others is something itself.
        assert_eq!(
            purls("app/shop-all-1.0.jar", shaded)[2],
            "pkg:maven/shop-all@1.0"
        );
    }

    #[test]
    fn a_jar_without_properties_is_what_name_and_manifest_say() {
        for (file, manifest, expected) in [
            (
                "commons-io-2.15.1.jar",
                "Implementation-Version: 9\nImplementation-Vendor-Id: commons\n -io\n",
                Some("pkg:maven/commons-io/commons-io@2.15.1"),
            ),
            (
                "tool.jar",
                "Bundle-Version: 1.2\n\nImplementation-Version: 9\n",
                Some("pkg:maven/tool@1.2"),
            ),
            (
                "tool.jar",
                "Implementation-Version: ${version}\n",
                Some("pkg:maven/tool"),
            ),
            ("tool.jar", "Created-By: 17\n", Some("pkg:maven/tool")),
        ] {
            let archive = jar(&[], &[(MANIFEST, manifest.as_bytes(), Stored)]);
            let found = purls(file, archive);
            assert_eq!(found.first().map(String::as_str), expected, "{file}");
        }
        assert!(purls("x-1.jar", jar(&[], &[("x", b"", Stored)])).is_empty());
    }

    #[test]
    fn properties_are_found_where_they_were_moved_and_a_repository_tells_the_group() {
        let (_, text) = pom("com.acme", "shop", "2");
        let moved = jar(
            &[],
            &[(
                "WEB-INF/classes/META-INF/maven/com.acme/shop/pom.properties",
                text.as_bytes(),
                Deflated,
            )],
        );
        assert_eq!(purls("shop.war", moved), ["pkg:maven/com.acme/shop@2"]);
        let path = "root/.m2/repository/org/ow2/asm/asm/9.7/asm-9.7.jar";
        let manifest = b"Implementation-Title: ASM\nBundle-License: BSD-3-Clause\n";
        for more in [&[(MANIFEST, &manifest[..], Stored)][..], &[]] {
            assert_eq!(
                purls(path, jar(&[], more)),
                ["pkg:maven/org.ow2.asm/asm@9.7"]
            );
        }
    }

    #[test]
    fn a_jar_without_properties_may_have_a_pom() {
        let pom = b"<project><parent><groupId>com.acme</groupId><version>1.5</version></parent><artifactId>pom-only</artifactId><licenses><license><name>MIT</name></license></licenses></project>";
        let archive = jar(
            &[],
            &[
                (MANIFEST, b"Manifest-Version: 1.0\n", Stored),
                ("META-INF/maven/com.acme/pom-only/pom.xml", pom, Deflated),
            ],
        );
        let told = read("pom-only-1.5.jar", &mut Cursor::new(archive));
        assert_eq!(told.packages.len(), 1);
        assert_eq!(told.packages[0].purl(), "pkg:maven/com.acme/pom-only@1.5");
        assert_eq!(told.packages[0].licences, ["MIT"]);
        // Beside properties, it only adds the licence; so does a bundle's manifest.
        let both = jar(
            &[self::pom("com.acme", "pom-only", "1.5")],
            &[("META-INF/maven/com.acme/pom-only/pom.xml", pom, Deflated)],
        );
        let told = read("pom-only-1.5.jar", &mut Cursor::new(both));
        assert_eq!(told.packages.len(), 1);
        assert_eq!(told.packages[0].licences, ["MIT"]);
        let bundle = jar(
            &[self::pom("com.acme", "b", "1")],
            &[(MANIFEST, b"Bundle-License: Apache-2.0;link=\"x\"\n", Stored)],
        );
        let told = read("b-1.jar", &mut Cursor::new(bundle));
        assert_eq!(told.packages[0].licences, ["Apache-2.0"]);
    }

    #[test]
    fn jars_in_jars_are_read_stored_and_compressed() {
        let inner = jar(&[pom("g", "inner", "1")], &[]);
        let middle = jar(
            &[pom("g", "middle", "2")],
            &[("lib/inner.jar", &inner, Deflated)],
        );
        let outer = jar(
            &[pom("g", "outer", "3")],
            &[("BOOT-INF/lib/middle.JAR", &middle, Stored)],
        );
        assert_eq!(
            purls("outer.jar", outer),
            [
                "pkg:maven/g/inner@1",
                "pkg:maven/g/middle@2",
                "pkg:maven/g/outer@3"
            ]
        );
    }

    #[test]
    fn what_is_broken_or_endless_is_told() {
        let told = read("x.jar", &mut Cursor::new(b"no zip"));
        assert_eq!(told.notes, ["x.jar: it is no zip: it has no end record"]);
        let mut archive = jar(&[pom("g", "deepest", "1")], &[]);
        for _ in 0..DEEPEST {
            archive = jar(&[], &[("x.jar", &archive, Stored)]);
        }
        let told = read("x.jar", &mut Cursor::new(archive));
        assert_eq!(told.notes, ["x.jar: it lies too deep in others"]);
        let broken = zip(&[("x.jar", b"PK no zip", Deflated)]);
        assert_eq!(read("y.jar", &mut Cursor::new(broken)).notes.len(), 1);
    }
}
