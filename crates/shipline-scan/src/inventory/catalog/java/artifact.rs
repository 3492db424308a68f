//! What a jar says of an artifact: in properties, in a project's description, in its manifest and in the name of its file.

use super::super::super::package::{Package, PackageKind, is_plain};
use super::super::text;
use super::pom;

/// Words in versions. A part of a file's name that begins with a letter and is none of them belongs to the artifact's name.
const WORDS_OF_VERSIONS: [&str; 16] = [
    "alpha",
    "android",
    "beta",
    "cr",
    "final",
    "ga",
    "incubating",
    "jdk",
    "jre",
    "m",
    "milestone",
    "pre",
    "rc",
    "release",
    "snapshot",
    "sp",
];

/// An artifact, as somebody names it.
pub(super) struct Artifact {
    pub(super) group: Option<String>,
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) licences: Vec<String>,
}

impl Artifact {
    /// What a `pom.properties` says, and where it does not, its place: `META-INF/maven/GROUP/NAME/pom.properties`.
    pub(super) fn of_properties(path: &str, bytes: &[u8]) -> Option<Self> {
        let mut folders = path.rsplit('/').skip(1);
        let (folder, above) = (folders.next(), folders.next());
        let placed = folders.next() == Some("maven") && folders.next() == Some("META-INF");
        let part = |text: Option<&str>| {
            let text = text.filter(|text| placed && is_plain(text));
            text.map(str::to_owned)
        };
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
            group: value("groupId").or_else(|| part(above)),
            name: value("artifactId").or_else(|| part(folder))?,
            version: value("version"),
            licences: Vec::new(),
        })
    }

    /// A project that inherits its group and version has its parent's.
    pub(super) fn of_pom(bytes: &[u8]) -> Option<Self> {
        let project = pom::read(&text(bytes));
        let first = |own: Option<String>, parent| own.or(parent).filter(|text| is_plain(text));
        Some(Self {
            group: first(project.group, project.parent_group),
            name: first(project.artifact, None)?,
            version: first(project.version, project.parent_version),
            licences: project.licences,
        })
    }

    /// What the path of a jar says in the local repositories of Maven (`repository/org/slf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar`)
    /// and of Gradle (`files-2.1/org.slf4j/slf4j-api/2.0.9/HASH/slf4j-api-2.0.9.jar`). Nothing elsewhere: a folder alone is no group.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let (folders, file) = path.rsplit_once('/')?;
        let folders: Vec<&str> = folders.split('/').filter(|it| !it.is_empty()).collect();
        let position = |mark: &str| folders.iter().rposition(|folder| *folder == mark);
        let (group, name, version) = match (position("files-2.1"), position("repository")) {
            (Some(root), _) => match folders[root + 1..] {
                [group, name, version, _] => (group.to_owned(), name, version),
                _ => return None,
            },
            (None, Some(root)) => match &folders[root + 1..] {
                [group @ .., name, version] if !group.is_empty() => {
                    (group.join("."), *name, *version)
                }
                _ => return None,
            },
            (None, None) => return None,
        };
        // The file is called so too, with a classifier behind it at most: else this is another repository.
        let rest = file.strip_prefix(&format!("{name}-{version}"))?;
        let fits =
            rest.starts_with(['.', '-']) && [&group, name, version].iter().all(|it| is_plain(it));
        fits.then(|| Self {
            group: Some(group.clone()),
            name: name.to_owned(),
            version: Some(version.to_owned()),
            licences: Vec::new(),
        })
    }

    /// Whether both are the same artifact, whatever their versions.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.group == other.group
    }

    /// The file's name says more reliably what it is than a manifest, which tools fill with whatever they like. But a version in
    /// the manifest tells where the name ends.
    pub(super) fn of_manifest(file: &str, bytes: &[u8]) -> Option<Self> {
        let text = text(bytes);
        let fields = fields(&text);
        let field = |name: &str| {
            let found = fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.as_str())
                .filter(|value| is_plain(value))
        };
        let versions = [
            field("Implementation-Version"),
            field("Bundle-Version"),
            field("Specification-Version"),
        ];
        // Directives and attributes follow a semicolon (OSGi core specification).
        let head = |value: &'static str| field(value).and_then(|value| value.split(';').next());
        let symbolic = head("Bundle-SymbolicName").map(str::trim);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        let (name, version) = split_version(stem, &versions, symbolic);
        let version = version.or_else(|| versions.iter().flatten().next().copied());
        // A name that ends with the artifact's begins with its group.
        let group_of = |full: Option<&str>| {
            let group = full?.strip_suffix(name)?.strip_suffix('.')?;
            group.contains('.').then(|| group.to_owned())
        };
        let group = field("Implementation-Vendor-Id")
            .filter(|id| !id.contains(char::is_whitespace))
            .or_else(|| titled(field("Implementation-Title")?, name))
            .map(str::to_owned);
        let licence = head("Bundle-License").and_then(|licences| licences.split(',').next());
        Some(Self {
            group: group
                .or_else(|| group_of(symbolic))
                .or_else(|| group_of(field("Automatic-Module-Name"))),
            name: name.to_owned(),
            version: version.map(str::to_owned),
            licences: licence
                .map(|licence| licence.trim().trim_matches('"').to_owned())
                .into_iter()
                .collect(),
        })
    }

    pub(super) fn package(&self) -> Option<Package> {
        // A template that nobody filled in is no version.
        let version = self.version.as_deref().filter(|text| !text.contains("${"));
        let group = self.group.as_deref().filter(|text| !text.contains("${"));
        let mut package = Package::new(PackageKind::Maven, group, &self.name, version)?;
        package.licences.clone_from(&self.licences);
        Some(package)
    }
}

/// The group of a title as Gradle's plugins write it: `com.example#tool;1.2`.
fn titled<'t>(title: &'t str, name: &str) -> Option<&'t str> {
    let (group, rest) = title.split_once('#')?;
    let (artifact, _) = rest.split_once(';')?;
    (artifact == name && !group.contains(char::is_whitespace)).then_some(group)
}

/// Name and version of a file's stem: `spring-core-6.1.2` is `spring-core` and `6.1.2`, `log4j-1.2-api-2.17.1` is `log4j-1.2-api`
/// and `2.17.1`, and Eclipse writes `org.eclipse.osgi_3.24.0`.
fn split_version<'s>(
    stem: &'s str,
    versions: &[Option<&str>],
    symbolic: Option<&str>,
) -> (&'s str, Option<&'s str>) {
    let cut = |at: usize| (&stem[..at], stem.get(at + 1..));
    if let Some((bundle, version)) = stem.split_once('_')
        && symbolic == Some(bundle)
        && starts_with_digit(version)
    {
        return cut(bundle.len());
    }
    // As the manifest has it, at the end or before a classifier (`-linux-x86_64`).
    for version in versions.iter().flatten() {
        let marked = format!("-{version}");
        if let Some(at) = stem.rfind(&marked).filter(|at| *at > 0) {
            let rest = &stem[at + marked.len()..];
            match rest.strip_prefix('-').map(|rest| rest.split('-').next()) {
                Some(Some(word)) if is_word_of_a_version(word) => return cut(at),
                // What follows is a classifier.
                Some(_) => return (&stem[..at], stem.get(at + 1..at + marked.len())),
                None if rest.is_empty() => return cut(at),
                None => {}
            }
        }
    }
    // The first part that begins with a digit, unless a word of the name stands between it and another such part.
    let mut found = None;
    let mut named = false;
    for (at, _) in stem.match_indices('-').filter(|(at, _)| *at > 0) {
        let part = stem[at + 1..].split('-').next().unwrap_or_default();
        if starts_with_digit(part) {
            if found.is_none() || (named && part.contains('.')) {
                found = Some(at);
                named = false;
            }
        } else {
            named |= !is_word_of_a_version(part);
        }
    }
    found.map_or((stem, None), cut)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// `RC1`, `jre`, `M2`.
fn is_word_of_a_version(part: &str) -> bool {
    let letters = part.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let letters = letters.to_ascii_lowercase();
    WORDS_OF_VERSIONS.contains(&letters.as_str())
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
    use super::*;

    #[test]
    fn name_group_and_version_are_told_from_file_and_manifest() {
        for (file, manifest, expected) in [
            (
                "reactor-netty-core-1.0.25.jar",
                "Bundle-SymbolicName: io.projectreactor.netty.reactor-netty-core\nBundle-Version: 1.0.25\n",
                "pkg:maven/io.projectreactor.netty/reactor-netty-core@1.0.25",
            ),
            (
                "org.eclipse.osgi_3.24.0.v2025-0427.jar",
                "Bundle-SymbolicName: org.eclipse.osgi; singleton:=true\nBundle-Version: 3.24.0.v2025-0427\n",
                "pkg:maven/org.eclipse.osgi@3.24.0.v2025-0427",
            ),
            (
                "log4j-1.2-api-2.17.1.jar",
                "Implementation-Version: 2.17.1\nImplementation-Vendor-Id: org.apache.logging.log4j\n",
                "pkg:maven/org.apache.logging.log4j/log4j-1.2-api@2.17.1",
            ),
            (
                "log4j-1.2-api-2.17.1.jar",
                "X: y\n",
                "pkg:maven/log4j-1.2-api@2.17.1",
            ),
            (
                "derby-10.16.1.1.jar",
                "Bundle-SymbolicName: derby\nBundle-Version: 10.16.1000001.1901046\n",
                "pkg:maven/derby@10.16.1.1",
            ),
            (
                "guava-32.1.3-jre.jar",
                "Bundle-Version: 32.1.3.jre\n",
                "pkg:maven/guava@32.1.3-jre",
            ),
            (
                "guava-32.1.3-jre.jar",
                "Implementation-Version: 32.1.3\n",
                "pkg:maven/guava@32.1.3-jre",
            ),
            ("x-1.0-RC1-2.jar", "", "pkg:maven/x@1.0-RC1-2"),
            ("jersey-guice-2.jar", "", "pkg:maven/jersey-guice@2"),
            (
                "automod.jar",
                "Automatic-Module-Name: com.foo.automod\n",
                "pkg:maven/com.foo/automod",
            ),
            (
                "tool-1.2.jar",
                "Implementation-Title: com.example#tool;1.2\nImplementation-Version: 1.2\n",
                "pkg:maven/com.example/tool@1.2",
            ),
            (
                "tool-1.2.jar",
                "Implementation-Title: com.example#other;1.2\n",
                "pkg:maven/tool@1.2",
            ),
            (
                "tcnative-2.0.61.Final-linux-x86_64.jar",
                "Bundle-Version: 2.0.61.Final\n",
                "pkg:maven/tcnative@2.0.61.Final",
            ),
        ] {
            let artifact = Artifact::of_manifest(file, manifest.as_bytes()).unwrap();
            assert_eq!(artifact.package().unwrap().purl(), expected, "{file}");
        }
    }

    #[test]
    fn a_path_in_a_local_repository_tells_the_group() {
        for (path, expected) in [
            (
                "/root/.m2/repository/org/slf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar",
                Some("pkg:maven/org.slf4j/slf4j-api@2.0.9"),
            ),
            (
                "/r/repository/io/netty/tcnative/2.0/tcnative-2.0-linux-x86_64.jar",
                Some("pkg:maven/io.netty/tcnative@2.0"),
            ),
            (
                "/root/.gradle/caches/modules-2/files-2.1/org.slf4j/slf4j-api/2.0.9/7cf2726fdcfbc8610f9a71fb3ed639871f315340/slf4j-api-2.0.9.jar",
                Some("pkg:maven/org.slf4j/slf4j-api@2.0.9"),
            ),
            ("/srv/repository/tools/1.0/other-1.0.jar", None),
            ("/srv/repository/a/1.0/a-1.0.jar", None),
            (
                "/app/lib/org/slf4j/slf4j-api/2.0.9/slf4j-api-2.0.9.jar",
                None,
            ),
            ("a.jar", None),
        ] {
            let purl = Artifact::of_path(path).map(|it| it.package().unwrap().purl());
            assert_eq!(purl.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn properties_that_name_no_group_have_one_by_their_place() {
        let of = |path: &str, text: &str| {
            let artifact = Artifact::of_properties(path, text.as_bytes())?;
            Some(artifact.package()?.purl())
        };
        let placed = "WEB-INF/classes/META-INF/maven/com.acme/shop/pom.properties";
        assert_eq!(
            of(placed, "version=2\n").as_deref(),
            Some("pkg:maven/com.acme/shop@2")
        );
        assert_eq!(
            of(placed, "groupId=g\nartifactId=a\nversion=2\n").as_deref(),
            Some("pkg:maven/g/a@2")
        );
        assert_eq!(of("conf/com.acme/shop/pom.properties", "version=2\n"), None);
    }
}
