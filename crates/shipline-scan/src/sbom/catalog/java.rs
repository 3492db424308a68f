//! Maven artifacts: `META-INF/maven/**/pom.properties` in jars and in the jars inside them, and the manifest of a jar that has
//! none of its own.

use std::io::{self, Cursor};

use super::super::package::{Package, PackageKind, is_plain};
use super::super::spool::Content;
use super::super::zip::{Archive, Entry, MOST_ENTRIES};
use super::{MOST_PACKAGES, Reader, Told, file_name, text};

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
        let mut properties = Vec::new();
        let mut manifest = None;
        let wanted = |name: &str| is_properties(name) || name == MANIFEST || is_archive(name);
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
                Ok(bytes) => properties.extend(Artifact::of_properties(&bytes)),
                Err(error) => self.note(&entry.name, &error),
            }
        }
        let own = manifest.and_then(|manifest| Artifact::of_manifest(file_name(path), &manifest));
        // The jar's own properties say the same, and better; those that are alone are its own, whatever its file is called.
        let own = own.filter(|own| {
            properties.len() != 1 && !properties.iter().any(|known| known.name == own.name)
        });
        let packages = properties.iter().chain(&own).filter_map(Artifact::package);
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

fn is_properties(name: &str) -> bool {
    name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties")
}

/// What a jar says of an artifact.
struct Artifact {
    group: Option<String>,
    name: String,
    version: Option<String>,
}

impl Artifact {
    fn of_properties(bytes: &[u8]) -> Option<Self> {
        let text = text(bytes);
        let value = |name: &str| {
            let mut lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'));
            lines
                .find_map(|line| {
                    let (key, value) = line.split_once(['=', ':'])?;
                    (key.trim() == name).then(|| value.trim().to_owned())
                })
                .filter(|value| is_plain(value))
        };
        Some(Self {
            group: value("groupId"),
            name: value("artifactId")?,
            version: value("version"),
        })
    }

    /// The file's name says more reliably what it is than a manifest, which tools fill with whatever they like.
    fn of_manifest(file: &str, bytes: &[u8]) -> Option<Self> {
        let text = text(bytes);
        let fields = fields(&text);
        let first = |names: &[&str]| {
            names.iter().find_map(|name| {
                let (_, value) = fields
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
                is_plain(value).then(|| value.clone())
            })
        };
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let (name, version) = split_version(stem);
        let version = version.map(str::to_owned).or_else(|| {
            first(&[
                "Implementation-Version",
                "Bundle-Version",
                "Specification-Version",
            ])
        });
        Some(Self {
            group: first(&["Implementation-Vendor-Id"]),
            name: name.to_owned(),
            version,
        })
    }

    fn package(&self) -> Option<Package> {
        // A template that nobody filled in is no version.
        let version = self.version.as_deref().filter(|text| !text.contains("${"));
        Package::new(
            PackageKind::Maven,
            self.group.as_deref(),
            &self.name,
            version,
        )
    }
}

/// `spring-core-6.1.2` is `spring-core` and `6.1.2`.
fn split_version(stem: &str) -> (&str, Option<&str>) {
    let cut = stem.match_indices('-').find(|(at, _)| {
        let rest = stem.get(at + 1..).unwrap_or_default();
        *at > 0 && rest.starts_with(|first: char| first.is_ascii_digit())
    });
    match cut {
        Some((at, _)) => {
            let (name, rest) = stem.split_at(at);
            (name, rest.get(1..))
        }
        None => (stem, None),
    }
}

/// The main section of a manifest. Long lines go on in the next one, behind a space.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        match (line.strip_prefix(' '), fields.last_mut()) {
            (Some(rest), Some((_, value))) => value.push_str(rest),
            (Some(_), None) => {}
            (None, _) => {
                if let Some((key, value)) = line.split_once(':') {
                    fields.push((key.trim().to_owned(), value.trim().to_owned()));
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
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
