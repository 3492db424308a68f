//! The embedded builder: the table of Dockerfiles, reproducibility, reuse, refusals.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value as Json, json};
use shipline_engine::backend::ImageStore;
use shipline_engine::error::{BackendError, ErrorClass};
use shipline_engine::event::BuiltImage;
use shipline_engine::task::TaskContext;
use shipline_model::config::Platform;
use shipline_model::name::Digest;
use shipline_model::value::Value;
use shipline_oci::build::{BaseChoice, BaseImages};
use shipline_oci::image::{DOCKER_LAYER_ZSTD, OCI_LAYER_ZSTD, OCI_MANIFEST, digest_of};

use crate::cases;
use crate::support::{Task, skopeo_config, tool};
use crate::world::{World, files, put_over, tars, unpacked};

#[test]
fn every_dockerfile_becomes_what_it_must() {
    for case in cases::all() {
        let world = World::new(case.context, case.dockerfile);
        let built = world.build();
        let expected: BTreeMap<String, String> = case
            .files
            .iter()
            .map(|(path, file)| ((*path).to_owned(), (*file).to_owned()))
            .collect();
        assert_eq!(
            files(&world.store, &built.digest),
            expected,
            "{}",
            case.name
        );
        let config = world.config(&built);
        let wanted: Json = serde_json::from_str(case.config).unwrap();
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&config["config"][key], value, "{}: {key}", case.name);
        }
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        assert_eq!(
            (&config["os"], &config["architecture"]),
            (&json!("linux"), &json!("amd64"))
        );
        let layers = config["rootfs"]["diff_ids"].as_array().unwrap();
        let history = config["history"].as_array().unwrap();
        assert_eq!(
            history
                .iter()
                .filter(|entry| entry["empty_layer"] != json!(true))
                .count(),
            layers.len(),
            "{}",
            case.name
        );
        assert_eq!(built.layers, layers.len());
        for (layer, diff_id) in world
            .store
            .manifest(&built.digest)
            .unwrap()
            .unwrap()
            .layers
            .iter()
            .zip(layers)
        {
            let mut tar = Vec::new();
            flate2::read::MultiGzDecoder::new(world.store.open(&layer.digest).unwrap())
                .read_to_end(&mut tar)
                .unwrap();
            assert_eq!(shipline_oci::image::digest_of(&tar).as_str(), diff_id);
        }
        if let Some(seen) = skopeo_config(&world.directory.path().join("store"), "frontend@staging")
        {
            assert_eq!(seen["rootfs"], config["rootfs"], "{}", case.name);
        }
    }
}

#[test]
fn umoci_unpacks_what_was_built() {
    let case = cases::all().next().unwrap();
    let world = World::new(case.context, case.dockerfile);
    let built = world.build();
    world.store.name_image(&built.digest, "plain").unwrap();
    let image = format!("{}:plain", world.directory.path().join("store").display());
    let bundle = world.directory.path().join("bundle");
    let Some((good, output)) = tool(
        "umoci",
        &[
            "unpack",
            "--rootless",
            "--image",
            &image,
            bundle.to_str().unwrap(),
        ],
    ) else {
        return;
    };
    assert!(good, "{output}");
    assert_eq!(
        fs::read_to_string(bundle.join("rootfs/srv/www/link")).unwrap(),
        "hi"
    );
}

#[test]
fn what_cannot_be_built_says_where_why_and_what_to_do() {
    let elf = |machine: u8| {
        let mut bytes = b"\x7fELF\x02\x01\x01\x00".to_vec();
        bytes.resize(64, 0);
        bytes[16] = 2;
        bytes[18] = machine;
        bytes
    };
    for (dockerfile, class, wanted) in [
        (
            "FROM scratch\nCOPY nothing /x\n",
            ErrorClass::Invalid,
            &[
                "frontend@staging from Dockerfile",
                "line 2",
                "`/nothing` is not in the build context",
            ][..],
        ),
        (
            "FROM scratch\nCOPY ignored /x\n",
            ErrorClass::Invalid,
            &["`/ignored` is not in"],
        ),
        (
            "FROM scratch\nCOPY f d /x\n",
            ErrorClass::Invalid,
            &["end with `/`"],
        ),
        (
            "FROM scratch\nCOPY * /x\n",
            ErrorClass::Invalid,
            &["matches", "end with `/`"],
        ),
        (
            "FROM scratch\nCOPY f /x\nCOPY d /x\n",
            ErrorClass::Invalid,
            &["line 3", "not a directory"],
        ),
        (
            "FROM scratch\nCOPY d /x/\nCOPY f /x/g\nCOPY e /x/\n",
            ErrorClass::Invalid,
            &["line 4", "is a directory, and a file"],
        ),
        (
            "FROM scratch\nCOPY f /x\nCOPY f /x/y\n",
            ErrorClass::Invalid,
            &["line 3", "`/x` is not a directory"],
        ),
        (
            "FROM scratch\nCOPY --chown=app f /x\n",
            ErrorClass::Invalid,
            &["user `app` is not in the stage's /etc/passwd"],
        ),
        (
            "FROM scratch\nCOPY --chmod=9 f /x\n",
            ErrorClass::Invalid,
            &["neither octal"],
        ),
        (
            "FROM scratch\nCOPY ${A:?set-it} /x\n",
            ErrorClass::Invalid,
            &["line 2", "set-it"],
        ),
        (
            "FROM scratch\nCOPY --from=missing:1 f /x\n",
            ErrorClass::Unavailable,
            &["`missing:1` would have to be pulled"],
        ),
        (
            "FROM node:22\nCOPY f /x\n",
            ErrorClass::Unavailable,
            &["line 1", "`node:22`", "FROM scratch"],
        ),
        (
            "FROM scratch\n\nRUN make\n",
            ErrorClass::Unavailable,
            &["Dockerfile line 3: RUN must be executed", "start Docker"],
        ),
        (
            "FROM scratch\nADD https://x/y /\n",
            ErrorClass::Unavailable,
            &["line 2", "fetches"],
        ),
        (
            "FROM scratch\nCOPPY a b\n",
            ErrorClass::Invalid,
            &["line 2", "did you mean `COPY`?"],
        ),
        (
            "FROM scratch\nEXPOSE x\n",
            ErrorClass::Invalid,
            &["line 2", "no port"],
        ),
        (
            "FROM scratch\nCOPY arm /x\n",
            ErrorClass::Invalid,
            &[
                "line 2 (`COPY arm /x`)",
                "`/x` is a Linux executable for arm64",
                "linux/amd64",
            ],
        ),
        (
            "FROM scratch\nCOPY mac /x\n",
            ErrorClass::Invalid,
            &["macOS executable"],
        ),
        (
            "FROM scratch\nCOPY pipe /x\n",
            ErrorClass::Invalid,
            &["socket, pipe or device"],
        ),
        (
            "FROM scratch\nCOPY --parents d/none /x\n",
            ErrorClass::Invalid,
            &["line 2", "`/d/none` is not in the build context"],
        ),
        (
            "FROM scratch\nCOPY f /x/implied\nADD a.tar /x/\n",
            ErrorClass::Invalid,
            &["line 3", "`/x/implied` is not a directory, and an archive"],
        ),
        (
            "FROM scratch\nCOPY f /x\nADD a.tar /x\n",
            ErrorClass::Invalid,
            &[
                "line 3",
                "`/x` is not a directory, and an archive is unpacked",
            ],
        ),
        (
            "FROM scratch\nCOPY loop /x\n",
            ErrorClass::Invalid,
            &["more than 40 symbolic links"],
        ),
    ] {
        let world = World::new(
            &[
                (".dockerignore", "ignored\n"),
                ("ignored", ""),
                ("f", "f"),
                ("d/g/h", "h"),
                ("e/g", "g"),
                ("loop", "->loop"),
                ("a.tar", "+tar"),
            ],
            dockerfile,
        );
        for (name, bytes) in [
            ("arm", elf(183)),
            (
                "mac",
                [
                    &[
                        0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0,
                    ][..],
                    &[0; 48],
                ]
                .concat(),
            ),
        ] {
            fs::write(world.context(name), bytes).unwrap();
            fs::set_permissions(world.context(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        if dockerfile.contains("pipe") {
            tool("mkfifo", &[world.context("pipe").to_str().unwrap()]).unwrap();
        }
        let (found, text) = world.refusal();
        assert_eq!(found, class, "{dockerfile}: {text}");
        for wanted in wanted {
            assert!(text.contains(wanted), "{dockerfile}: {text}");
        }
        assert_eq!(world.store.named("frontend@staging").unwrap(), None);
    }
}

#[test]
fn foreign_binaries_that_packages_bring_are_noted_only() {
    let mut world = World::new(
        &[("app/node_modules/p/x", "+x"), ("tool", "+x")],
        "FROM scratch\nCOPY app /app\nCOPY tool /\n",
    );
    let mut elf = b"\x7fELF\x02\x01\x01\x00".to_vec();
    elf.resize(64, 0);
    (elf[16], elf[18]) = (2, 183);
    fs::write(world.context("app/node_modules/p/x"), &elf).unwrap();
    // Dynamic, for the right machine, its loader missing.
    let mut dynamic = elf.clone();
    (
        dynamic[16],
        dynamic[18],
        dynamic[32],
        dynamic[54],
        dynamic[56],
    ) = (3, 62, 64, 56, 1);
    dynamic.extend(
        [3].iter()
            .chain(&[0; 7])
            .chain(&[120])
            .chain(&[0; 23])
            .chain(&[8])
            .chain(&[0; 23]),
    );
    dynamic.extend(b"/lib/ld\0");
    fs::write(world.context("tool"), &dynamic).unwrap();
    world.settling = Some(Duration::ZERO);
    for _ in 0..2 {
        // The second time out of the record.
        let mut task = Task::new();
        world.try_build(&task).unwrap();
        let lines = task.lines().join("\n");
        assert!(
            lines.contains("`/app/node_modules/p/x` is a Linux executable for arm64"),
            "{lines}"
        );
        assert!(
            lines.contains("`/tool` needs the loader `/lib/ld`"),
            "{lines}"
        );
    }
}

#[test]
fn unchanged_layers_are_taken_without_reading_them() {
    let mut world = World::new(
        &[("modules/a", "a"), ("page", "1")],
        "FROM scratch\nCOPY modules /m\nCOPY page /p\nCOPY <<E /t\ntext\nE\n",
    );
    world.settling = Some(Duration::ZERO);
    let first = world.build();
    assert_eq!(first.reused_layers, 0);
    let second = world.build();
    assert_eq!((second.reused_layers, &second.digest), (3, &first.digest));
    fs::write(world.context("page"), "2").unwrap();
    let third = world.build();
    assert_eq!(third.reused_layers, 2);
    assert_ne!(third.digest, first.digest);
    let layers = |built: &BuiltImage| world.store.manifest(&built.digest).unwrap().unwrap().layers;
    let (before, after) = (layers(&first), layers(&third));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    let fourth = world.build();
    assert_eq!((fourth.reused_layers, &fourth.digest), (3, &third.digest));
    // A blob that is gone is made again.
    fs::remove_file(world.store.place(&before[0].digest).unwrap().path()).unwrap();
    assert_eq!(world.build().reused_layers, 2);
    assert!(world.store.is_whole(&third.digest).unwrap());
}

#[test]
fn files_that_changed_just_now_are_not_trusted() {
    let mut world = World::new(
        &[("f", "1")],
        "FROM scratch\nCOPY f /\nCOPY <<E /t\ntext\nE\n",
    );
    // As if the clock of the file system were this coarse.
    world.settling = Some(Duration::from_secs(3600));
    let first = world.build();
    let second = world.build();
    // Texts of the Dockerfile have no stamp and need none.
    assert_eq!((second.reused_layers, second.digest), (1, first.digest));
}

#[test]
fn digests_do_not_depend_on_umask_times_threads_or_place() {
    let big: String = (0..400_000).map(|number: u32| number.to_string()).collect();
    let context = [
        ("big", big.as_str()),
        ("d/x", "x"),
        ("d/run", "+xr"),
        ("d/l", "->x"),
    ];
    let dockerfile = "FROM scratch\nCOPY . /all\nWORKDIR /w\n";
    let first = World::new(&context, dockerfile);
    let digest = first.build().digest;
    for threads in [1, 3, 7] {
        let mut other = World::new(&context, dockerfile);
        other.threads = threads;
        for (path, mode) in [
            ("d", 0o700),
            ("d/x", 0o600),
            ("d/run", 0o711),
            ("big", 0o666),
        ] {
            fs::set_permissions(other.context(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::File::open(other.context("big"))
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(other.build().digest, digest, "{threads} threads");
    }
    let mut other = World::new(&context, dockerfile);
    other.request.created += 1;
    other.request.labels.insert("commit".into(), "other".into());
    let built = other.build();
    assert_ne!(built.digest, digest);
    let layers =
        |world: &World, digest: &Digest| world.store.manifest(digest).unwrap().unwrap().layers;
    assert_eq!(layers(&other, &built.digest), layers(&first, &digest));
}

#[test]
fn add_unpacks_local_archives() {
    for gzip in [false, true] {
        let world = World::new(
            &[("no.tar", "not a tar")],
            "FROM scratch\nADD a.tar no.tar /opt/\nADD --chown=3 a.tar /own\nCOPY a.tar /kept.tar\n",
        );
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o4750);
        header.set_uid(5);
        header.set_gid(6);
        header.set_size(3);
        tar.append_data(&mut header.clone(), "./dir/file", &b"abc"[..])
            .unwrap();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, "dir/hard", "./dir/file")
            .unwrap();
        let mut bytes = tar.into_inner().unwrap();
        if gzip {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &bytes).unwrap();
            bytes = encoder.finish().unwrap();
        }
        fs::write(world.context("a.tar"), &bytes).unwrap();
        let mut found = files(&world.store, &world.build().digest);
        assert!(found.remove("kept.tar").unwrap().starts_with("f 644 0:0 "));
        let expected: BTreeMap<String, String> = [
            ("opt", "d 755 0:0"),
            ("opt/dir", "d 755 0:0"),
            ("opt/dir/file", "f 4750 5:6 abc"),
            ("opt/dir/hard", "f 4750 5:6 abc"),
            ("opt/no.tar", "f 644 0:0 not a tar"),
            ("own", "d 755 3:3"),
            // Nobody says whose a directory is that the archive does not list.
            ("own/dir", "d 755 0:0"),
            ("own/dir/file", "f 4750 3:3 abc"),
            ("own/dir/hard", "f 4750 3:3 abc"),
        ]
        .into_iter()
        .map(|(path, file)| (path.to_owned(), file.to_owned()))
        .collect();
        assert_eq!(found, expected);
    }
}

pub(crate) struct Pulled(pub(crate) Digest);

#[async_trait]
impl BaseImages for Pulled {
    async fn resolve(
        &self,
        _reference: &str,
        _platform: &Platform,
        _store: &Arc<dyn ImageStore>,
        _task: &TaskContext,
    ) -> Result<Digest, BackendError> {
        Ok(self.0.clone())
    }

    fn choice(&self, _task: &TaskContext) -> BaseChoice {
        BaseChoice::Floating
    }

    async fn look_up(
        &self,
        reference: &str,
        _platform: &Platform,
        _task: &TaskContext,
    ) -> Result<(String, Digest), BackendError> {
        Ok((reference.to_owned(), self.0.clone()))
    }
}

#[test]
fn base_images_bring_layers_config_triggers_and_links() {
    let mut world = World::new(
        &[
            ("usr/bin/sh", "+xsh"),
            ("bin", "->usr/bin"),
            ("etc/passwd", "app:x:9:8::/:/"),
            ("new/bin/app", "+xa"),
        ],
        "FROM scratch\nCOPY usr /usr\nCOPY bin /x\nCOPY etc /etc\nCOPY . /\nENV A=1\nONBUILD ENV T=$A\nCMD [\"sh\"]\n",
    );
    let base = world.build();
    world.bases = Some(Arc::new(Pulled(base.digest.clone())));
    fs::write(
        world.context("Dockerfile"),
        "FROM base:1\nCOPY --chown=app new/ /\nCOPY --from=other:2 /usr/bin/sh /copied\nENTRYPOINT [\"/bin/app\"]\n",
    )
    .unwrap();
    let built = world.build();
    assert_eq!(
        built.bases,
        [
            ("base:1".to_owned(), base.digest.clone()),
            ("other:2".to_owned(), base.digest.clone())
        ]
    );
    assert_eq!(
        (built.layers, built.reused_layers),
        (base.layers + 2, base.layers)
    );
    let found = files(&world.store, &built.digest);
    assert_eq!(found["bin"], "l 777 0:0 usr/bin");
    assert_eq!(found["usr/bin/app"], "f 755 9:8 a");
    assert_eq!(found["copied"], "f 755 0:0 sh");
    assert!(!found.contains_key("bin/app"));
    let config = world.config(&built);
    assert!(
        config["config"]["Env"]
            .as_array()
            .unwrap()
            .contains(&json!("T=1"))
    );
    assert_eq!(config["config"]["Cmd"], Json::Null);
    assert_eq!(config["config"]["OnBuild"], Json::Null);
    assert_eq!(
        world.store.manifest(&built.digest).unwrap().unwrap().layers[..base.layers],
        world.store.manifest(&base.digest).unwrap().unwrap().layers[..]
    );
    world.request.platform.architecture = "arm64".into();
    let (class, text) = world.refusal();
    assert_eq!(class, ErrorClass::Invalid);
    assert!(
        text.contains("linux/amd64") && text.contains("linux/arm64"),
        "{text}"
    );
}

/// The image again as an engine that compresses with zstd would have pushed it.
fn with_zstd(world: &World, built: &BuiltImage) -> Digest {
    let manifest = world.store.manifest(&built.digest).unwrap().unwrap();
    let mut text: Json = serde_json::from_slice(&manifest.bytes).unwrap();
    for (index, tar) in tars(&world.store, &built.digest).iter().enumerate() {
        let layer = compress_to_vec(tar.as_slice(), CompressionLevel::Fastest);
        let digest = digest_of(&layer);
        world
            .store
            .put_blob(&digest, &mut layer.as_slice())
            .unwrap();
        text["layers"][index] = json!({
            "mediaType": DOCKER_LAYER_ZSTD, "digest": digest.as_str(), "size": layer.len(),
        });
    }
    world
        .store
        .put_manifest(OCI_MANIFEST, text.to_string().as_bytes())
        .unwrap()
}

#[test]
fn layers_of_a_base_may_be_compressed_with_zstd() {
    let mut world = World::new(
        &[("usr/bin/sh", "+xsh"), ("bin", "->usr/bin"), ("new", "n")],
        "FROM scratch\nCOPY usr /usr\nCOPY . /\n",
    );
    let base = with_zstd(&world, &world.build());
    world.bases = Some(Arc::new(Pulled(base.clone())));
    fs::write(
        world.context("Dockerfile"),
        "FROM base:1\nCOPY --from=base:1 /usr/bin/sh /copied\nCOPY new /bin/\n",
    )
    .unwrap();
    let built = world.build();
    let layers = world.store.manifest(&built.digest).unwrap().unwrap().layers;
    let of_base = world.store.manifest(&base).unwrap().unwrap().layers;
    let (first, own) = layers.split_at(of_base.len());
    for (layer, of_base) in first.iter().zip(&of_base) {
        assert_eq!(layer.digest, of_base.digest);
        assert_eq!(layer.media_type, OCI_LAYER_ZSTD);
    }
    let mut found = BTreeMap::new();
    for layer in own {
        put_over(&mut found, &unpacked(&world.store, layer));
    }
    assert_eq!(found["copied"], "f 755 0:0 sh");
    assert_eq!(found["usr/bin/new"], "f 644 0:0 n");
}

#[test]
fn args_reach_the_image_and_others_are_for_commands_alone() {
    let mut world = World::new(
        &[("f", "f")],
        "FROM scratch\nARG URL=none\nENV NEXT_PUBLIC_URL=$URL\nCOPY f /\n",
    );
    let args = [
        ("URL", "https://staging"),
        ("ONLY_FOR_PREPARE", "x"),
        ("HTTP_PROXY", "p"),
    ];
    world.request.args = args
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::Public(value.to_owned())))
        .collect();
    let mut task = Task::new();
    let built = world.try_build(&task).unwrap();
    assert!(
        world.config(&built)["config"]["Env"]
            .as_array()
            .unwrap()
            .contains(&json!("NEXT_PUBLIC_URL=https://staging"))
    );
    assert_eq!(task.lines(), Vec::<String>::new());
}

#[test]
fn a_cancelled_build_leaves_nothing() {
    let big = "x".repeat(5 << 20);
    let world = World::new(&[("big", &big)], "FROM scratch\nCOPY big /\n");
    let task = Task::new();
    task.cancel.cancel();
    assert_eq!(
        world.try_build(&task).unwrap_err().class,
        ErrorClass::Cancelled
    );
    assert_eq!(
        fs::read_dir(world.directory.path().join("store/tmp"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        fs::read_dir(world.directory.path().join("store/blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn what_is_allowed_and_probably_not_meant_is_noted() {
    for (dockerfile, wanted) in [
        (
            "FROM scratch\nCOPY --chmod=640 f /etc/app/\n",
            Some("only root can enter"),
        ),
        ("FROM scratch\nCOPY --chmod=u=rw,go=r f /etc/app/\n", None),
        (
            "FROM scratch\nUSER nobody\nWORKDIR /w\n",
            Some("USER `nobody` is not in"),
        ),
        ("FROM scratch\nWORKDIR /w\nUSER nobody\nWORKDIR /w\n", None),
        (
            "FROM scratch\nCOPY --parents no*/x f /w/\n",
            Some("`no*/x` matches nothing"),
        ),
    ] {
        let world = World::new(&[("f", "f")], dockerfile);
        let mut task = Task::new();
        world.try_build(&task).unwrap();
        let lines = task.lines();
        match wanted {
            Some(wanted) => assert!(
                lines.iter().any(|line| line.contains(wanted)),
                "{dockerfile}: {lines:?}"
            ),
            None => assert_eq!(lines, Vec::<String>::new(), "{dockerfile}"),
        }
    }
}

#[test]
fn the_dockerfiles_own_ignore_file_wins() {
    let mut world = World::new(
        &[
            (".dockerignore", "a"),
            ("web.Dockerfile.dockerignore", "b"),
            ("a", "a"),
            ("b", "b"),
        ],
        "",
    );
    world.request.dockerfile = world.context("web.Dockerfile");
    fs::write(
        &world.request.dockerfile,
        "FROM scratch\nCOPY [\"a\", \"/\"]\nCOPY b* /\n",
    )
    .unwrap();
    let mut task = Task::new();
    let built = world.try_build(&task).unwrap();
    assert_eq!(
        files(&world.store, &built.digest)
            .into_keys()
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert!(task.lines()[0].contains("`b*` matches nothing"));
}

#[test]
fn caches_are_not_in_the_context_whatever_the_ignore_file_says() {
    let mut world = World::new(
        &[
            ("a", "a"),
            ("deps/b", "b"),
            ("depsy", "c"),
            ("app/node_modules/d", "d"),
            ("app/e", "e"),
            (".dockerignore", "!deps\n!**/node_modules\n"),
        ],
        "FROM scratch\nCOPY . /x/\n",
    );
    world.request.caches = vec!["deps".to_owned(), "app/node_modules".to_owned()];
    let built = world.try_build(&Task::new()).unwrap();
    let files = files(&world.store, &built.digest).into_keys();
    assert_eq!(
        files.collect::<Vec<_>>(),
        [
            "x",
            "x/.dockerignore",
            "x/Dockerfile",
            "x/a",
            "x/app",
            "x/app/e",
            "x/depsy"
        ]
    );
    let dockerfile = world.request.dockerfile.clone();
    for copy in [
        "COPY deps/b /",
        "COPY ./a deps /x/",
        "ADD app/node_modules/* /",
    ] {
        let text = format!("FROM scratch\n{copy}\n");
        fs::write(&dockerfile, text).unwrap();
        let error = world.try_build(&Task::new()).unwrap_err();
        let text = format!("{} {:?}", error.cause.unwrap(), error.hints);
        for wanted in ["line 2", "cache", "include_caches"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}

#[test]
fn links_of_the_sources_do_not_lead_out_of_them() {
    let world = World::new(
        &[("a", "a"), ("docker/File", "FROM scratch\nCOPY a /\n")],
        "",
    );
    let secret = world.directory.path().join("secret");
    fs::write(&secret, "FROM secret\n").unwrap();
    let dockerfile = &world.request.dockerfile;
    fs::remove_file(dockerfile).unwrap();
    std::os::unix::fs::symlink("docker/File", dockerfile).unwrap();
    world.try_build(&Task::new()).unwrap();
    let refused = |path: &std::path::Path| {
        let _ = fs::remove_file(path);
        std::os::unix::fs::symlink(&secret, path).unwrap();
        let error = world.try_build(&Task::new()).unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid);
        let text = format!("{error} {}", error.cause.as_ref().unwrap());
        assert!(text.contains("leads out of the repository"), "{text}");
        assert!(!text.contains("FROM secret"), "{text}");
        fs::remove_file(path).unwrap();
    };
    refused(&world.context(".dockerignore"));
    refused(dockerfile);
}

mod trees {
    use proptest::prelude::*;

    use super::*;

    fn tree() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
        proptest::collection::btree_map(
            "[a-c.-]{1,3}(/[a-cé ]{1,120}){0,3}",
            proptest::collection::vec(any::<u8>(), 0..3000),
            0..12,
        )
    }

    /// Writes what can be written: a path below a file cannot.
    fn write(
        root: &Path,
        tree: &BTreeMap<String, Vec<u8>>,
        mode: u32,
    ) -> BTreeMap<String, Vec<u8>> {
        let mut written = BTreeMap::new();
        for (path, bytes) in tree {
            if path
                .split('/')
                .any(|part| matches!(part, "." | ".." | ".dockerignore"))
            {
                continue;
            }
            let file = root.join(path);
            if fs::create_dir_all(file.parent().unwrap()).is_ok()
                && !file.is_dir()
                && fs::write(&file, bytes).is_ok()
            {
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                written.insert(path.clone(), bytes.clone());
            }
        }
        written
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn random_trees_come_back_and_have_one_digest(tree in tree(), threads in 1..5_usize) {
            let dockerfile = "FROM scratch\nCOPY t /\n";
            let mut digests = Vec::new();
            for (mode, threads) in [(0o644, 2), (0o606, threads)] {
                let mut world = World::new(&[("t/", "")], dockerfile);
                world.threads = threads;
                let written = write(&world.context("t"), &tree, mode);
                let built = world.build();
                let mut found = BTreeMap::new();
                for layer in world.store.manifest(&built.digest).unwrap().unwrap().layers {
                    let gzip = flate2::read::MultiGzDecoder::new(world.store.open(&layer.digest).unwrap());
                    for entry in tar::Archive::new(gzip).entries().unwrap() {
                        let mut entry = entry.unwrap();
                        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
                        let mut bytes = Vec::new();
                        entry.read_to_end(&mut bytes).unwrap();
                        if entry.header().entry_type().is_file() {
                            found.insert(path, bytes);
                        }
                    }
                }
                prop_assert_eq!(found, written);
                digests.push(built.digest);
            }
            prop_assert_eq!(&digests[0], &digests[1]);
        }
    }
}
