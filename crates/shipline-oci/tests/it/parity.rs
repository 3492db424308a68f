//! One Dockerfile, three builders: the embedded one, BuildKit and the classic one must make the same of it. Where they do not,
//! it is listed here, path by path, with the reason; and what is listed must really differ.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use shipline_engine::backend::ImageStore;
use shipline_oci::build::docker::Wanted;
use shipline_testkit::needs;
use shipline_testkit::service::engine::docker;

use crate::build::Pulled;
use crate::cases::{self, Case, Since};
use crate::docker::{seen, told, try_build, world};
use crate::support::Task;
use crate::world::{World, files};

/// Who makes something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The classic builder.
    Classic,
    /// BuildKit, all versions.
    BuildKit,
    /// BuildKit of engines whose API is older than 1.N; newer ones agree with us.
    BuildKitBefore(u32),
    /// BuildKit of the newest engines, against its own documentation.
    BuildKitSince(u32),
}

struct Difference {
    row: &'static str,
    who: Who,
    /// Paths, keys of the config, or `build` where it builds nothing at all.
    what: &'static [&'static str],
    #[allow(dead_code, reason = "for whoever reads the table")]
    why: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        row: "a directory over a link of the image",
        who: Who::BuildKit,
        what: &["build"],
        why: "it refuses (\"cannot copy to non-directory\"); we honour the image's links, as usrmerge needs",
    },
    Difference {
        row: "a directory over a link of the image",
        who: Who::Classic,
        what: &["bin", "bin/new", "usr/bin/new"],
        why: "it puts a directory in the link's place, which breaks a usrmerge base",
    },
    Difference {
        row: "USER and the directories that WORKDIR makes after it",
        who: Who::Classic,
        what: &[
            "app",
            "app/x",
            "five",
            "half",
            "root/9",
            "root/9/rel",
            "root/9/up",
            "staff",
        ],
        why: "it makes them for root whatever USER says; we follow BuildKit",
    },
    Difference {
        row: "everything in the config",
        who: Who::Classic,
        what: &["a", "a/b", "Env"],
        why: "it makes directories for root whatever USER says, and knows no TARGETARCH; we follow BuildKit",
    },
    Difference {
        row: "directories on the way belong to --chown, those that are there stay",
        who: Who::Classic,
        what: &["q"],
        why: "it makes the directories above a copied directory for root; we follow BuildKit",
    },
    Difference {
        row: "octal modes",
        who: Who::BuildKitBefore(49),
        what: &["g", "g/h"],
        why: "directories on the way have the mode of --chmod since Docker 28.1, and had 0755 before",
    },
    Difference {
        row: "set-user, set-group and sticky bits",
        who: Who::BuildKitBefore(42),
        what: &["g", "own", "t/g", "u"],
        why: "it cut the mode to 0777",
    },
    Difference {
        row: "ADD --chown gives an archive's entries an owner",
        who: Who::BuildKitBefore(42),
        what: &[
            "own/dir",
            "own/dir/file",
            "own/dir/hard",
            "own/dir/link",
            "own/implied/x",
        ],
        why: "it left the archive's owners",
    },
    Difference {
        row: "ADD --chown gives an archive's entries an owner",
        who: Who::Classic,
        what: &[
            "own",
            "own/dir",
            "own/dir/file",
            "own/dir/hard",
            "own/dir/link",
            "own/implied/x",
        ],
        why: "it leaves the archive's owners",
    },
    Difference {
        row: "ARG again, and the environment before it",
        who: Who::Classic,
        what: &["Env"],
        why: "an ARG without a default unsets it there, and the environment hides a later ARG",
    },
    Difference {
        row: "HEALTHCHECK by a shell, and twice",
        who: Who::Classic,
        what: &["Healthcheck"],
        why: "the second takes over the first one's options there",
    },
    Difference {
        row: "patterns begin at links, and lead over none",
        who: Who::Classic,
        what: &["build"],
        why: "a pattern that finds nothing is an error there",
    },
    Difference {
        row: "COPY --exclude leaves out what a pattern names",
        who: Who::BuildKitSince(51),
        what: &["1/a.ts", "2/a.ts"],
        why: "its documentation leaves them out, and its code does not (moby/buildkit#5489)",
    },
];

/// What the engines answer with, and which rows of the table they read.
struct Engine {
    /// Minor version of its API.
    api: u32,
}

impl Engine {
    fn here() -> Self {
        let api = docker(&["version", "--format", "{{.Server.APIVersion}}"]).unwrap();
        let (_, minor) = api.trim().split_once('.').unwrap();
        Self {
            api: minor.parse().unwrap(),
        }
    }

    fn reads(&self, case: &Case, wanted: Wanted) -> bool {
        match (case.since, wanted) {
            (Since::Always, _) => true,
            (Since::BuildKit, Wanted::Best) => true,
            (Since::Newer, Wanted::Best) => self.api >= 51,
            (Since::BuildKit | Since::Newer, Wanted::Classic) | (Since::Documented, _) => false,
        }
    }

    fn is(&self, who: Who, wanted: Wanted) -> bool {
        match (who, wanted) {
            (Who::Classic, wanted) => wanted == Wanted::Classic,
            (Who::BuildKit, wanted) => wanted == Wanted::Best,
            (Who::BuildKitBefore(api), wanted) => wanted == Wanted::Best && self.api < api,
            (Who::BuildKitSince(api), wanted) => wanted == Wanted::Best && self.api >= api,
        }
    }
}

/// Keys of the config, normalized: engines write what is empty in several ways, and the root as `/` or as nothing.
fn keys(config: &Json) -> BTreeMap<&'static str, Json> {
    let plain = |value: &Json| {
        let empty = [json!([]), json!({}), json!(""), json!("/")].contains(value);
        if empty { Json::Null } else { value.clone() }
    };
    let mut keys: BTreeMap<&'static str, Json> = [
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "User",
        "ExposedPorts",
        "Volumes",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "OnBuild",
        "Shell",
    ]
    .into_iter()
    .map(|key| (key, plain(&config["config"][key])))
    .collect();
    for key in ["author", "os", "architecture"] {
        keys.insert(key, plain(&config[key]));
    }
    keys
}

/// What the engine makes otherwise of a row: the path or key, and both sides for people.
fn compare(world: &World, wanted: Wanted) -> BTreeMap<String, String> {
    let embedded = world.build();
    let mut differences = BTreeMap::new();
    let mut task = Task::new();
    let built = match try_build(world, wanted, &task) {
        Ok(built) => built,
        Err(error) => {
            let text = format!("{}\n{}", told(&error), task.lines().join("\n"));
            return BTreeMap::from([("build".to_owned(), text)]);
        }
    };
    let (ours, theirs) = (
        files(&world.store, &embedded.digest),
        seen(&world.store, &built),
    );
    for path in ours.keys().chain(theirs.keys()) {
        if ours.get(path) != theirs.get(path) {
            let text = format!("{:?}, docker: {:?}", ours.get(path), theirs.get(path));
            differences.insert(path.clone(), text);
        }
    }
    let (mut ours, theirs) = (world.config(&embedded), world.config(&built));
    // A base that was loaded into an engine has no digest of a registry there, and none is told.
    if let Some(labels) = ours["config"]["Labels"].as_object_mut() {
        labels.retain(|name, _| !name.starts_with("org.opencontainers.image.base."));
    }
    let (ours, theirs) = (keys(&ours), keys(&theirs));
    for (key, value) in &ours {
        if theirs[key] != *value {
            differences.insert(
                (*key).to_owned(),
                format!("{value}, docker: {}", theirs[key]),
            );
        }
    }
    differences
}

fn hold(wanted: Wanted) {
    let engine = Engine::here();
    let mut wrong = Vec::new();
    for case in cases::all() {
        if !engine.reads(case, wanted) {
            eprintln!("left to newer engines: {}", case.name);
            continue;
        }
        let found = compare(&world("parity", case.context, case.dockerfile), wanted);
        let listed: Vec<&str> = DIFFERENCES
            .iter()
            .filter(|difference| difference.row == case.name && engine.is(difference.who, wanted))
            .flat_map(|difference| difference.what.iter().copied())
            .collect();
        for (what, text) in &found {
            if !listed.contains(&what.as_str()) {
                wrong.push(format!("{}: {what}: {text}", case.name));
            }
        }
        for what in listed {
            if !found.contains_key(what) {
                wrong.push(format!(
                    "{}: {what} is listed and does not differ",
                    case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wanted:?}:\n{}", wrong.join("\n"));
}

#[test]
fn buildkit_makes_what_the_embedded_builder_makes() {
    if needs::docker("buildkit_makes_what_the_embedded_builder_makes") {
        hold(Wanted::Best);
    }
}

#[test]
fn the_classic_builder_makes_what_the_embedded_builder_makes() {
    if needs::docker("the_classic_builder_makes_what_the_embedded_builder_makes") {
        hold(Wanted::Classic);
    }
}

#[test]
fn every_difference_names_a_row() {
    for difference in DIFFERENCES {
        assert!(
            cases::all().any(|case| case.name == difference.row),
            "{}",
            difference.row
        );
    }
}

/// A base with links in place of folders, users, triggers, and everything that a stage takes over.
const BASE: &str = "FROM scratch\nCOPY base /\nENV A=1 PATH=/own\nLABEL l=base m=base\nUSER app\nWORKDIR /home\nEXPOSE 80\nVOLUME /v\n\
    ENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"x\"]\nSHELL [\"/bin/sh\", \"-ec\"]\nHEALTHCHECK CMD y\nSTOPSIGNAL 3\nMAINTAINER base\n\
    ONBUILD COPY triggered /bin/\nONBUILD ENV T=$A\nONBUILD WORKDIR sub\n";

const ON_BASE: &[&str] = &[
    "COPY new /bin/\nCOPY --chown=app:staff new /sbin/owned\nCOPY new /lib/x/\nWORKDIR /lib/w\nENV B=$A$T\nLABEL m=own\nCMD [\"own\"]\n",
    "ENTRYPOINT [\"/new\"]\nUSER 5\nWORKDIR rel\nCOPY --from=BASE /bin/sh /copied/sh\nCOPY --from=BASE /bin /copied/bin\nADD a.tar /bin\n",
    "CMD shell form\nHEALTHCHECK NONE\nONBUILD ENV OWN=1\nVOLUME /w\nEXPOSE 81\n",
];

#[test]
fn images_on_a_base_are_the_same_from_all() {
    if !needs::docker("images_on_a_base_are_the_same_from_all") {
        return;
    }
    let base = world(
        "parity-base",
        &[
            ("base/etc/passwd", "app:x:9:8::/:/\n"),
            ("base/etc/group", "staff:x:50:\n"),
            ("base/usr/bin/sh", "+xsh"),
            ("base/usr/lib/l", "l"),
            ("base/bin", "->usr/bin"),
            ("base/sbin", "->bin"),
            ("base/lib", "->/usr/lib"),
        ],
        BASE,
    );
    let built = base.build();
    let reference = &base.engine.as_ref().unwrap().reference("1");
    let archive = base.directory.path().join("base.tar");
    base.store
        .export_docker_archive(
            &built.digest,
            reference,
            &mut fs::File::create(&archive).unwrap(),
        )
        .unwrap();
    docker(&["load", "-i", archive.to_str().unwrap()]).unwrap();
    for wanted in [Wanted::Best, Wanted::Classic] {
        for dockerfile in ON_BASE {
            let text = format!("FROM {reference}\n{dockerfile}").replace("BASE", reference);
            let mut world = world(
                "parity-on-base",
                &[("triggered", "t"), ("new", "+xn"), ("a.tar", "+tar")],
                &text,
            );
            // The same store, so that the embedded builder finds the base there.
            world.store = base.store.clone();
            world.shared = Arc::new(base.store.clone()) as Arc<dyn ImageStore>;
            world.bases = Some(Arc::new(Pulled(built.digest.clone())));
            let mut found = compare(&world, wanted);
            if wanted == Wanted::Classic {
                // It makes directories of WORKDIR for root, whatever USER says, and forgets the base's author.
                found.retain(|path, _| {
                    !path.starts_with("home/sub")
                        && !matches!(path.as_str(), "usr/lib/w" | "author")
                });
            }
            assert_eq!(found, BTreeMap::new(), "{wanted:?}: {text}");
        }
    }
}
