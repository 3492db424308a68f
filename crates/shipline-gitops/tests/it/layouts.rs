//! Ten layouts of GitOps repositories, as `docs/gitops-layouts.md` describes them: each is edited, read, and edited in a lost
//! race.

use std::sync::{Arc, Mutex};

use git2::Repository;
use shipline_engine::backend::{Deployment, GitopsRepo, Pinning, SetImage, Target};
use shipline_engine::error::BackendError;
use shipline_gitops::{CommitSigner, LocalGitops};
use shipline_model::config::KustomizeImages;
use shipline_model::name::{ComponentName, Digest, EnvironmentName, Tag};

use crate::edit::deployment;
use crate::support::{Bare, commit, file, settings};

struct Layout {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    manifests: &'static str,
    with: fn(&mut Target),
    /// The file that is edited, its line, and what stands there before and after.
    edited: (&'static str, usize),
    old: &'static str,
    new: &'static str,
}

const OLD_DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW_DIGEST: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn plain() -> String {
    deployment("      - name: server\n        image: r.io/web:1.0 # here\n")
}

fn base() -> Vec<(&'static str, String)> {
    vec![
        ("apps/web/base/deployment.yaml", plain()),
        (
            "apps/web/base/kustomization.yaml",
            "resources:\n- deployment.yaml\n".to_owned(),
        ),
        (
            "apps/web/overlays/production/kustomization.yaml",
            "resources:\n- ../../base\nimages:\n- name: r.io/web\n  newTag: \"0.9\"\n".to_owned(),
        ),
    ]
}

fn layouts() -> Vec<Layout> {
    let nothing: fn(&mut Target) = |_| {};
    let of = |name, files, manifests, edited| Layout {
        name,
        files,
        manifests,
        with: nothing,
        edited,
        old: "1.0",
        new: "2.0",
    };
    let mut overlays = base();
    overlays.push((
        "apps/web/overlays/staging/kustomization.yaml",
        "resources:\n- ../../base\nimages:\n- name: r.io/web\n  newTag: \"1.0\" # staging\n"
            .to_owned(),
    ));
    let mut components = base();
    components.push((
        "apps/web/overlays/staging/kustomization.yaml",
        "resources:\n- ../../base\ncomponents:\n- ../../pins/staging\n".to_owned(),
    ));
    components.push((
        "apps/web/pins/staging/kustomization.yaml",
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages:\n- name: r.io/web\n  newTag: '1.0'\n".to_owned(),
    ));
    let mut created = base();
    created.push((
        "apps/web/overlays/staging/kustomization.yaml",
        "resources:\n- ../../base\n".to_owned(),
    ));
    vec![
        of(
            "plain",
            vec![("staging/web/deployment.yaml", plain())],
            "staging/web",
            ("staging/web/deployment.yaml", 10),
        ),
        of(
            "flat",
            vec![
                ("staging/web.yaml", plain()),
                ("staging/api.yaml", plain().replace("/web", "/api")),
            ],
            "staging",
            ("staging/web.yaml", 10),
        ),
        of(
            "kustomize base and overlays",
            overlays,
            "apps/web/overlays/staging",
            ("apps/web/overlays/staging/kustomization.yaml", 5),
        ),
        of(
            "kustomize components",
            components,
            "apps/web/overlays/staging",
            ("apps/web/pins/staging/kustomization.yaml", 5),
        ),
        Layout {
            with: |target| target.kustomize_images = KustomizeImages::Create,
            old: "- ../../base\n",
            new: "- ../../base\nimages:\n- name: r.io/web\n  newTag: \"2.0\"\n",
            ..of(
                "kustomize, an entry that is made",
                created,
                "apps/web/overlays/staging",
                ("apps/web/overlays/staging/kustomization.yaml", 2),
            )
        },
        of(
            "Helm values for each environment",
            vec![
                ("charts/web/Chart.yaml", "name: web\nversion: 0.1.0\n".to_owned()),
                (
                    "charts/web/values.yaml",
                    "image:\n  repository: r.io/web\n  tag: latest\n".to_owned(),
                ),
                ("charts/web/values-staging.yaml", "image:\n  tag: 1.0 # staging\n".to_owned()),
                ("charts/web/values-production.yaml", "image:\n  tag: \"0.9\"\n".to_owned()),
            ],
            "charts/web/values-staging.yaml",
            ("charts/web/values-staging.yaml", 2),
        ),
        of(
            "HelmRelease",
            vec![(
                "clusters/staging/web.yaml",
                "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  values:\n    image:\n      repository: r.io/web\n      tag: '1.0'\n".to_owned(),
            )],
            "clusters/staging",
            ("clusters/staging/web.yaml", 8),
        ),
        of(
            "Rollout",
            vec![("staging/web/rollout.yaml", plain().replace("kind: Deployment", "kind: Rollout"))],
            "staging/web",
            ("staging/web/rollout.yaml", 10),
        ),
        of(
            "app of apps",
            vec![(
                "apps/staging/web.yaml",
                "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    repoURL: https://charts.example.com\n    chart: web\n    helm:\n      parameters:\n      - name: image.repository\n        value: r.io/web\n      - name: image.tag\n        value: \"1.0\"\n".to_owned(),
            )],
            "apps/staging",
            ("apps/staging/web.yaml", 13),
        ),
        of(
            "one repository for each environment",
            vec![("web/deployment.yaml", plain())],
            "web",
            ("web/deployment.yaml", 10),
        ),
        Layout {
            old: OLD_DIGEST,
            new: NEW_DIGEST,
            ..of(
                "digests",
                vec![(
                    "staging/web/deployment.yaml",
                    plain().replace("web:1.0", &format!("web@{OLD_DIGEST}")),
                )],
                "staging/web",
                ("staging/web/deployment.yaml", 10),
            )
        },
    ]
}

impl Layout {
    fn target(&self) -> Target {
        let component = ComponentName::new("web").unwrap();
        let mut target = Target::new(component, EnvironmentName::new("staging").unwrap());
        target.manifests = vec![self.manifests.to_owned()];
        (self.with)(&mut target);
        target
    }

    fn deployment(&self, id: &str) -> Deployment {
        Deployment {
            id: id.to_owned(),
            environment: EnvironmentName::new("staging").unwrap(),
            images: vec![SetImage {
                target: self.target(),
                name: None,
                tag: Tag::new("2.0").unwrap(),
                digest: Some(Digest::new(NEW_DIGEST).unwrap()),
                pinning: Pinning::AsBefore,
                source_commit: None,
            }],
            message: None,
            author: None,
            committer: None,
            trailers: Vec::new(),
            time: 0,
        }
    }

    fn bare(&self) -> Bare {
        let files: Vec<(&str, &str)> = self
            .files
            .iter()
            .map(|(path, text)| (*path, &**text))
            .collect();
        Bare::with(&files)
    }

    fn before(&self) -> &str {
        let mut files = self.files.iter();
        &files.find(|(path, _)| *path == self.edited.0).unwrap().1
    }

    /// The file after the edit: the old bytes with one value replaced, which may have got quotes.
    fn check(&self, now: &str) {
        let plain = self.before().replacen(self.old, self.new, 1);
        let quoted = self
            .before()
            .replacen(self.old, &format!("\"{}\"", self.new), 1);
        assert!(now == plain || now == quoted, "{}: {now}", self.name);
    }
}

#[test]
fn every_layout_is_edited_and_read() {
    for layout in layouts() {
        let bare = layout.bare();
        let repository = bare.repository();
        let read = |wanted: &str| {
            let state = repository
                .snapshot()
                .unwrap()
                .read(&[layout.target()])
                .unwrap();
            let image = state.images.into_values().next().unwrap();
            let image = image.unwrap_or_else(|error| panic!("{}: {error}", layout.name));
            assert!(image.image.contains(wanted), "{}: {image:?}", layout.name);
            image
        };
        let old = if layout.old.len() < 4 || layout.old.starts_with("sha") {
            layout.old
        } else {
            "1.0"
        };
        read(old);
        let done = repository.deploy(&layout.deployment("d1"));
        let done =
            done.unwrap_or_else(|error| panic!("{}: {error} {:?}", layout.name, error.hints));
        assert_eq!(done.changes.len(), 1, "{}: {done:?}", layout.name);
        let change = &done.changes[0];
        assert_eq!(
            (&*change.file, change.line),
            layout.edited,
            "{}",
            layout.name
        );
        layout.check(&file(&bare.git(), layout.edited.0).unwrap());
        let new = if layout.new.starts_with("sha") {
            layout.new
        } else {
            "2.0"
        };
        let image = read(new);
        if !layout.new.starts_with("sha") {
            assert_eq!(image.tag.as_deref(), Some("2.0"), "{}", layout.name);
        }
        let again = repository.deploy(&layout.deployment("d2")).unwrap();
        assert!(!again.made && again.changes.is_empty(), "{}", layout.name);
    }
}

/// Somebody who commits between the edit and the move of the branch, once.
#[derive(Debug)]
struct Rival {
    path: std::path::PathBuf,
    file: String,
    text: String,
    done: Mutex<bool>,
}

impl CommitSigner for Rival {
    fn sign(&self, _: &[u8]) -> Result<String, BackendError> {
        let mut done = self.done.lock().unwrap();
        if !*done {
            let repository = Repository::open(&self.path).unwrap();
            commit(
                &repository,
                &[(&self.file, &self.text), ("README.md", "theirs")],
            );
            *done = true;
        }
        Ok("-----BEGIN PGP SIGNATURE-----\nx\n-----END PGP SIGNATURE-----".to_owned())
    }
}

#[test]
fn every_layout_survives_a_lost_race() {
    for layout in layouts() {
        let bare = layout.bare();
        // The same file, with another line before what is edited.
        let theirs = format!("# theirs\n{}", layout.before());
        let rival = Rival {
            path: bare.path(),
            file: layout.edited.0.to_owned(),
            text: theirs,
            done: Mutex::new(false),
        };
        let repository = LocalGitops::new(shipline_gitops::LocalSettings {
            signer: Some(Arc::new(rival)),
            ..settings(&bare.path())
        });
        let done = repository.deploy(&layout.deployment("d1")).unwrap();
        assert_eq!(done.changes[0].line, layout.edited.1 + 1, "{}", layout.name);
        let now = file(&bare.git(), layout.edited.0).unwrap();
        layout.check(now.strip_prefix("# theirs\n").unwrap());
        assert_eq!(file(&bare.git(), "README.md").as_deref(), Some("theirs"));
    }
}
