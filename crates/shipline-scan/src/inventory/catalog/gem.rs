//! Ruby gems: the specifications that RubyGems writes for those that it has installed, and the ones that came with Ruby. They are
//! programs; RubyGems writes one value a line, and no line is run.

use super::super::package::{Package, PackageKind, is_plain};
use super::{Reader, Told, text};

pub(super) const READER: Reader = Reader::Text { wants, read };

fn wants(path: &str) -> bool {
    let Some((folder, _)) = path
        .strip_suffix(".gemspec")
        .and_then(|stem| stem.rsplit_once('/'))
    else {
        return false;
    };
    let folder = folder.strip_suffix("/default").unwrap_or(folder);
    folder == "specifications" || folder.ends_with("/specifications")
}

fn read(_: &str, bytes: &[u8]) -> Told {
    let text = text(bytes);
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| {
            let (variable, value) = line.trim().split_once('=')?;
            let (_, field) = variable.trim().split_once('.')?;
            (field == name).then(|| value.trim())
        })
    };
    let first = |name: &str| value(name).and_then(|value| quoted(value).next());
    let package = first("name")
        .and_then(|name| Package::new(PackageKind::Gem, None, name, Some(first("version")?)));
    let Some(mut package) = package else {
        return Told::malformed("it has no name or no version");
    };
    let licences = value("licenses").or_else(|| value("license"));
    package.licences = licences
        .into_iter()
        .flat_map(quoted)
        .map(str::to_owned)
        .collect();
    if let Some(platform) = first("platform").filter(|platform| *platform != "ruby")
        && is_plain(platform)
    {
        let platform = ("platform".to_owned(), platform.to_owned());
        package.qualifiers.push(platform);
    }
    Told {
        packages: vec![package],
        ..Told::default()
    }
}

/// The texts of a line: `["MIT".freeze, "Ruby".freeze]`.
fn quoted(value: &str) -> impl Iterator<Item = &str> {
    value.split('"').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_told_by_their_folder() {
        for (path, wanted) in [
            ("usr/local/bundle/specifications/rack-3.0.8.gemspec", true),
            (
                "usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec",
                true,
            ),
            ("usr/local/bundle/gems/rack-3.0.8/rack.gemspec", false),
            ("app/shop.gemspec", false),
        ] {
            assert_eq!(wants(path), wanted, "{path}");
        }
    }

    #[test]
    fn a_gem_has_name_version_licences_and_platform() {
        let told = read(
            "",
            b"# stub: nokogiri 1.16.0 x86_64-linux lib\nGem::Specification.new do |s|\n  s.name = \"nokogiri\".freeze\n  s.version = Gem::Version.new(\"1.16.0\")\n  s.platform = \"x86_64-linux\".freeze\n  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\n  s.summary = \"s.name = \\\"no\\\"\"\nend\n",
        );
        assert_eq!(
            told.packages[0].purl(),
            "pkg:gem/nokogiri@1.16.0?platform=x86_64-linux"
        );
        assert_eq!(told.packages[0].licences, ["MIT", "Ruby"]);
        assert_eq!(
            read("", b"s.name = 7\n").notes,
            ["it has no name or no version"]
        );
    }
}
