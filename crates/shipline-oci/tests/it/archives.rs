//! Archives that ADD unpacks and layers that bases bring: what of them comes out, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use serde_json::json;
use shipline_engine::archive::{EntryKind, TarReader};
use shipline_engine::backend::ImageStore;
use shipline_engine::error::ErrorClass;
use shipline_model::name::Digest;
use shipline_oci::image::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, digest_of};

use crate::build::Pulled;
use crate::support::Task;
use crate::world::{World, tars};

/// A tar, entry by entry, with whatever in its fields.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn header(mut self, path: &str, flag: u8, size: u64, change: impl Fn(&mut [u8])) -> Self {
        let mut block = vec![0; 512];
        block[..path.len()].copy_from_slice(path.as_bytes());
        block[100..107].copy_from_slice(if flag == b'5' { b"0000755" } else { b"0000644" });
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar  \0");
        change(&mut block);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(block);
        self
    }

    fn data(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    fn file(self, path: &str, text: &str) -> Self {
        self.header(path, b'0', text.len() as u64, |_| {})
            .data(text.as_bytes())
    }

    fn directory(self, path: &str) -> Self {
        self.header(path, b'5', 0, |_| {})
    }

    fn link(self, flag: u8, path: &str, target: &str) -> Self {
        self.header(path, flag, 0, |block| {
            block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.link(b'2', path, target)
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(b'1', path, target)
    }

    fn device(self, flag: u8, path: &str, major: u32, minor: u32) -> Self {
        self.header(path, flag, 0, |block| {
            block[329..336].copy_from_slice(format!("{major:07o}").as_bytes());
            block[337..344].copy_from_slice(format!("{minor:07o}").as_bytes());
        })
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut all = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            all.extend(format!("{length} {key}=").as_bytes());
            all.extend(*value);
            all.push(b'\n');
        }
        self.header("PaxHeaders/x", b'x', all.len() as u64, |_| {})
            .data(&all)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// What an image holds: kind, mode, owner, content and attributes.
fn look(world: &World, digest: &Digest) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for layer in tars(&world.store, digest) {
        let mut tar = TarReader::new(layer.as_slice());
        while let Some(entry) = tar.next_entry().unwrap() {
            let mut content = Vec::new();
            tar.read_to_end(&mut content).unwrap();
            let owner = format!("{:o} {}:{}", entry.mode, entry.uid, entry.gid);
            let mut text = match &entry.kind {
                EntryKind::File { .. } if content.len() > 100 => {
                    format!("f {owner} {} bytes", content.len())
                }
                EntryKind::File { .. } => {
                    format!("f {owner} {}", String::from_utf8_lossy(&content))
                }
                EntryKind::Directory => format!("d {owner}"),
                EntryKind::Symlink { target } => {
                    format!("l {}", String::from_utf8_lossy(target))
                }
                EntryKind::CharDevice(major, minor) => format!("c {owner} {major},{minor}"),
                EntryKind::BlockDevice(major, minor) => format!("b {owner} {major},{minor}"),
                EntryKind::Fifo => format!("p {owner}"),
                EntryKind::HardLink { .. } | EntryKind::Unknown(_) => panic!("{entry:?}"),
            };
            for (name, value) in &entry.xattrs {
                text.push_str(&format!(
                    " {}={}",
                    String::from_utf8_lossy(name),
                    value.escape_ascii()
                ));
            }
            let path = String::from_utf8(entry.path).unwrap();
            found.insert(path.trim_end_matches('/').to_owned(), text);
        }
    }
    found
}

/// A build that adds `a.tar` to `destination`.
fn adding(archive: &[u8], destination: &str) -> World {
    let world = World::new(&[], &format!("FROM scratch\nADD a.tar {destination}\n"));
    fs::write(world.context("a.tar"), archive).unwrap();
    world
}

fn added(archive: Tar, destination: &str) -> BTreeMap<String, String> {
    let world = adding(&archive.end(), destination);
    look(&world, &world.build().digest)
}

#[track_caller]
fn check(found: BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let expected = expected.iter();
    let expected: BTreeMap<String, String> = expected
        .map(|(path, file)| ((*path).to_owned(), (*file).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn entries_of_an_archive_go_where_its_links_lead() {
    let archive = Tar::default()
        .directory("usr/")
        .directory("usr/lib/")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib")
        .symlink("gone", "/new/place")
        .file("lib/x", "x")
        .directory("lib/sub/")
        .file("abs/y", "y")
        .hard_link("abs/sub/h", "lib/x")
        .file("gone/z", "z")
        .file("a/../lib/./w", "w");
    for destination in ["/", "/opt/"] {
        let below = |path: &str| format!("{}{path}", destination.trim_start_matches('/'));
        let mut expected = BTreeMap::new();
        for (path, file) in [
            ("usr", "d 755 0:0"),
            ("usr/lib", "d 755 0:0"),
            ("usr/lib/x", "f 644 0:0 x"),
            ("usr/lib/y", "f 644 0:0 y"),
            ("usr/lib/w", "f 644 0:0 w"),
            ("usr/lib/sub", "d 755 0:0"),
            ("usr/lib/sub/h", "f 644 0:0 x"),
            ("lib", "l usr/lib"),
            ("abs", "l /usr/lib"),
            ("gone", "l /new/place"),
            ("new", "d 755 0:0"),
            ("new/place", "d 755 0:0"),
            ("new/place/z", "f 644 0:0 z"),
        ] {
            expected.insert(below(path), file.to_owned());
        }
        if destination != "/" {
            expected.insert("opt".to_owned(), "d 755 0:0".to_owned());
        }
        let tar = Tar(archive.0.clone());
        assert_eq!(added(tar, destination), expected);
    }
}

#[test]
fn a_later_entry_replaces_an_earlier_one_and_not_its_hard_link() {
    let archive = Tar::default()
        .file("f", "old")
        .hard_link("h", "f")
        .file("f", "newer")
        .directory("d/")
        .file("d/x", "x")
        .symlink("d", "f")
        .symlink("l", "f")
        .directory("l/")
        .file("l/y", "y");
    check(
        added(archive, "/"),
        &[
            ("f", "f 644 0:0 newer"),
            ("h", "f 644 0:0 old"),
            ("d", "l f"),
            ("l", "d 755 0:0"),
            ("l/y", "f 644 0:0 y"),
        ],
    );
}

#[test]
fn devices_of_an_archive_are_left_out_with_a_note_and_pipes_are_made() {
    let archive = Tar::default()
        .device(b'3', "null", 1, 3)
        .device(b'4', "disk", 8, 0)
        .header("p", b'6', 0, |_| {})
        .file("x", "x")
        .end();
    let world = adding(&archive, "/dev/");
    let mut task = Task::new();
    let built = world.try_build(&task).unwrap();
    check(
        look(&world, &built.digest),
        &[
            ("dev", "d 755 0:0"),
            ("dev/p", "p 644 0:0"),
            ("dev/x", "f 644 0:0 x"),
        ],
    );
    let lines = task.lines().join("\n");
    assert!(
        lines.contains("`/dev/null` and 1 more are devices"),
        "{lines}"
    );
}

#[test]
fn sparse_files_and_attributes_come_out_of_archives() {
    let capability: &[u8] = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let archive = Tar::default()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"s"),
            ("GNU.sparse.realsize", b"3000001"),
        ])
        .header("GNUSparseFile.0/s", b'0', 515, |_| {})
        .data(b"1\n2999998\n3\n")
        .data(b"end")
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.foo", b"bar"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .file("cap", "x")
        .hard_link("same", "cap")
        .pax(&[("SCHILY.xattr.user.d", b"1")])
        .directory("d/")
        .end();
    let world = adding(&archive, "/opt/");
    let xattrs = format!(
        "security.capability={} user.foo=bar",
        capability.escape_ascii()
    );
    let added = look(&world, &world.build().digest);
    check(
        added,
        &[
            ("opt", "d 755 0:0"),
            ("opt/s", "f 644 0:0 3000001 bytes"),
            ("opt/cap", &format!("f 644 0:0 x {xattrs}")),
            ("opt/same", &format!("f 644 0:0 x {xattrs}")),
            ("opt/d", "d 755 0:0 user.d=1"),
        ],
    );
    // They go on from stage to stage, whoever gets them and with whatever mode.
    fs::write(
        world.context("Dockerfile"),
        "FROM scratch AS a\nADD a.tar /opt/\nFROM scratch\nCOPY --from=a --chown=7 --chmod=0755 /opt/cap /c\nCOPY --from=a /opt/d /d\nCOPY --from=a /opt /all\n",
    )
    .unwrap();
    let copied = look(&world, &world.build().digest);
    assert_eq!(copied["c"], format!("f 755 7:7 x {xattrs}"));
    assert_eq!(copied["all/d"], "d 755 0:0 user.d=1");
    assert_eq!(copied["all/s"], "f 644 0:0 3000001 bytes");
    // Without the attribute it is another layer, although the files are the same.
    let plain = adding(&Tar::default().file("cap", "x").end(), "/opt/");
    let with = adding(
        &Tar::default()
            .pax(&[("SCHILY.xattr.user.foo", b"bar")])
            .file("cap", "x")
            .end(),
        "/opt/",
    );
    assert_ne!(plain.build().digest, with.build().digest);
}

#[test]
fn what_leads_out_of_an_archive_is_refused() {
    let tar = Tar::default;
    for (archive, why) in [
        (tar().file("../x", "x"), "leads out"),
        (tar().file("a/../../x", "x"), "leads out"),
        (tar().symlink("l", "../..").file("l/x", "x"), "leads out"),
        (tar().file("f", "x").hard_link("h", "../f"), "leads out"),
        (
            tar().hard_link("h", "/etc/passwd"),
            "hard link to `/etc/passwd`",
        ),
        (tar().hard_link("h", "h"), "hard link to `h`"),
        (tar().file("h", "h").hard_link("h", "h"), "hard link to `h`"),
        (
            tar().directory("d/").hard_link("h", "d"),
            "hard link to `d`",
        ),
        (tar().hard_link("h", ""), "hard link to ``"),
        (tar().file("f", "x").file("f/x", "x"), "not a directory"),
        (
            tar().symlink("a", "b").symlink("b", "a").file("a/x", "x"),
            "symbolic links",
        ),
        (tar().header("v", b'V', 0, |_| {}), "no engine unpacks"),
    ] {
        let world = adding(&archive.end(), "/opt/");
        assert!(world.try_build(&Task::new()).is_err(), "{why}");
        let (class, said) = world.refusal();
        assert_eq!(class, ErrorClass::Invalid);
        assert!(said.contains(why), "{said}: {why}");
        assert!(said.contains("a.tar"), "{said}");
    }
    // An absolute link is one of the archive's own folder (BuildKit's own code for ADD, since it unpacks below an `os.Root`).
    let absolute = tar().symlink("l", "/etc").file("l/x", "x");
    check(
        added(absolute, "/opt/"),
        &[
            ("opt", "d 755 0:0"),
            ("opt/etc", "d 755 0:0"),
            ("opt/etc/x", "f 644 0:0 x"),
            ("opt/l", "l /etc"),
        ],
    );
    // From the root of the archive's own folder, a link may lead wherever it wants as long as nothing goes that way.
    check(
        added(tar().symlink("l", "../../etc"), "/"),
        &[("l", "l ../../etc")],
    );
}

#[test]
fn hostile_archives_are_refused_before_they_take_memory() {
    let gzip = |start: &[u8], zeros: usize| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(start).unwrap();
        let block = vec![b'a'; 1 << 20];
        for _ in 0..zeros {
            encoder.write_all(&block).unwrap();
        }
        encoder.finish().unwrap()
    };
    let long = Tar::default().header("././@LongLink", b'L', 600 << 20, |_| {});
    let deep = "a/".repeat(200);
    let deeper = format!("{deep}{deep}x");
    let wide = format!("{}x", "a/".repeat(2000));
    let named = |name: &str| {
        Tar::default()
            .header("././@LongLink", b'L', name.len() as u64, |_| {})
            .data(name.as_bytes())
            .file("x", "x")
            .end()
    };
    for (archive, why) in [
        (gzip(&long.0, 8), "header is too large"),
        (named(&deeper), "folders lie in each other"),
        (named(&wide), "folders lie in each other"),
        (named(&"a".repeat(5000)), "more than the 4096"),
        (
            Tar::default()
                .pax(&[
                    ("GNU.sparse.size", b"9000000000000000"),
                    ("GNU.sparse.map", b"0,1"),
                ])
                .file("x", "x")
                .end(),
            "400 times",
        ),
        (
            Tar::default().header("x", b'0', 1 << 32, |_| {}).end(),
            "in the middle",
        ),
        (
            Tar::default().file("x", "x").0[..512].to_vec(),
            "in the middle",
        ),
    ] {
        let (class, said) = adding(&archive, "/opt/").refusal();
        assert_eq!(class, ErrorClass::Invalid);
        assert!(said.contains(why), "{said}: {why}");
    }
    // An archive that asks for more memory than any tool makes it ask for is no file to be copied.
    let mut options = lzma_rust2::XzOptions::with_preset(1);
    options.lzma_options.dict_size = 768 << 20;
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    encoder
        .write_all(&Tar::default().file("x", "x").end())
        .unwrap();
    let (_, said) = adding(&encoder.finish().unwrap(), "/opt/").refusal();
    assert!(said.contains("more memory"), "{said}");
}

/// Puts an image of these layers into a store.
fn image(store: &dyn ImageStore, layers: &[Vec<u8>]) -> Digest {
    let blob = |bytes: &[u8]| {
        let digest = digest_of(bytes);
        store.put_blob(&digest, &mut &bytes[..]).unwrap();
        json!({ "mediaType": OCI_LAYER, "digest": digest.as_str(), "size": bytes.len() })
    };
    let names: Vec<String> = layers
        .iter()
        .map(|layer| digest_of(layer).to_string())
        .collect();
    let mut config = blob(
        json!({
            "architecture": "amd64",
            "os": "linux",
            "config": null,
            "rootfs": { "type": "layers", "diff_ids": names },
        })
        .to_string()
        .as_bytes(),
    );
    config["mediaType"] = OCI_CONFIG.into();
    let layers: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    store
        .put_manifest(OCI_MANIFEST, manifest.to_string().as_bytes())
        .unwrap()
}

/// A build with an image of these layers under every name.
fn on(layers: &[Vec<u8>], dockerfile: &str) -> World {
    let mut world = World::new(&[], dockerfile);
    let base = image(&world.store, layers);
    world.bases = Some(Arc::new(Pulled(base)));
    world
}

const SQUASH: &str = "FROM scratch\nCOPY --from=base:1 / /\n";

#[test]
fn a_whiteout_hides_what_lies_below_its_layer_and_not_its_own() {
    let base = Tar::default()
        .directory("d/")
        .file("d/old", "old")
        .directory("d/sub/")
        .file("d/sub/old", "old")
        .file("gone", "old")
        .file("both", "old");
    let top = Tar::default()
        .directory("d/")
        .file("d/new", "new")
        .file("d/sub/new", "new")
        .file("d/.wh..wh..opq", "")
        .file("both", "new")
        .file(".wh.both", "")
        .file(".wh.gone", "")
        .file(".wh..wh.plnk", "");
    let world = on(&[base.end(), top.end()], SQUASH);
    check(
        look(&world, &world.build().digest),
        &[
            ("d", "d 755 0:0"),
            ("d/new", "f 644 0:0 new"),
            ("d/sub", "d 755 0:0"),
            ("d/sub/new", "f 644 0:0 new"),
            ("both", "f 644 0:0 new"),
        ],
    );
}

#[test]
fn layers_follow_links_of_those_below_and_stay_within_the_root() {
    let base = Tar::default()
        .directory("usr/")
        .directory("usr/lib/")
        .file("usr/lib/old", "old")
        .symlink("lib", "usr/lib")
        .symlink("up", "../../..");
    let top = Tar::default()
        .file("lib/new", "new")
        .file("lib/.wh.old", "")
        .hard_link("h", "lib/new")
        .file("../../out", "out")
        .file("up/there", "there");
    let world = on(&[base.end(), top.end()], SQUASH);
    check(
        look(&world, &world.build().digest),
        &[
            ("usr", "d 755 0:0"),
            ("usr/lib", "d 755 0:0"),
            ("usr/lib/new", "f 644 0:0 new"),
            ("lib", "l usr/lib"),
            ("up", "l ../../.."),
            ("h", "f 644 0:0 new"),
            ("out", "f 644 0:0 out"),
            ("there", "f 644 0:0 there"),
        ],
    );
}

#[test]
fn devices_and_pipes_of_an_image_are_copied() {
    let base = Tar::default()
        .directory("dev/")
        .device(b'3', "dev/null", 1, 3)
        .device(b'4', "dev/sda", 8, 1_000_000)
        .header("dev/initctl", b'6', 0, |_| {});
    let world = on(
        &[base.end()],
        "FROM scratch\nCOPY --from=base:1 / /\nCOPY --from=base:1 --chown=3 --chmod=600 /dev/null /n\n",
    );
    check(
        look(&world, &world.build().digest),
        &[
            ("dev", "d 755 0:0"),
            ("dev/null", "c 644 0:0 1,3"),
            ("dev/sda", "b 644 0:0 8,1000000"),
            ("dev/initctl", "p 644 0:0"),
            ("n", "c 600 3:3 1,3"),
        ],
    );
    let mark = Tar::default().device(b'3', "x", 0, 0);
    let (_, said) = on(&[mark.end()], SQUASH).refusal();
    assert!(said.contains("0:0"), "{said}");
}

#[test]
fn names_are_looked_up_in_the_passwd_that_counts() {
    // Twice in one layer, and once more below: the last entry of the topmost layer is what a container sees.
    let base = Tar::default()
        .directory("etc/")
        .file("etc/passwd", "app:x:1:1::/:/\n")
        .file("etc/group", "staff:x:50:\n");
    let top = Tar::default()
        .file("./etc/passwd", "app:x:2:2::/:/\n")
        .file("etc/passwd", "app:x:1000:1000::/:/\n");
    let world = on(
        &[base.end(), top.end()],
        "FROM base:1\nCOPY --chown=app:staff x /a\nCOPY --chown=app x /n/b\nUSER app\nCOPY x /c\nWORKDIR /w/q\nCOPY x .\n",
    );
    fs::write(world.context("x"), "x").unwrap();
    let digest = world.build().digest;
    // The base's own layers are not compressed: only those that were built are looked at.
    let manifest = world.store.manifest(&digest).unwrap().unwrap();
    let mut found = BTreeMap::new();
    for layer in &manifest.layers[2..] {
        let tar = crate::world::unpacked(&world.store, layer);
        let mut tar = TarReader::new(tar.as_slice());
        while let Some(entry) = tar.next_entry().unwrap() {
            let path = String::from_utf8(entry.path).unwrap();
            found.insert(path, (entry.uid, entry.gid));
        }
    }
    for (path, owner) in [
        ("a", (1000, 50)),
        ("n/", (1000, 1000)),
        ("n/b", (1000, 1000)),
        ("c", (0, 0)),
        ("w/", (1000, 1000)),
        ("w/q/", (1000, 1000)),
        ("w/q/x", (0, 0)),
    ] {
        assert_eq!(found[path], owner, "{path}");
    }
}

#[test]
fn a_hostile_layer_is_refused() {
    let long = Tar::default().header("././@LongLink", b'L', 600 << 20, |_| {});
    let mut endless = long.0;
    endless.resize(8 << 20, b'a');
    let (class, said) = on(&[endless], "FROM base:1\nLABEL a=b\n").refusal();
    assert_eq!(class, ErrorClass::Invalid);
    assert!(said.contains("header is too large"), "{said}");
}
